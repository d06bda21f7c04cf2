import { createMemoryStore, type OrderedStore, type OrderedTransaction } from "@meridian/keyvalue";
import type { Life } from "./world.ts";

type Write = readonly [key: string, value: Uint8Array | undefined];

/** The file of an ordered store: it outlives the processes that open it, and loses what was not flushed with the power. */
export class StoreFile {
  readonly #synced = new Map<string, Uint8Array>();
  #journal: (readonly Write[])[] = [];

  /** Opens it for one life. What was written by one that died is there. */
  async open(life: Life): Promise<OrderedStore> {
    const store = createMemoryStore();
    await store.transaction((tx) => {
      for (const [key, value] of this.#content()) tx.put(key, value);
    });
    const file = this;
    return {
      get: (key) => store.get(key),
      range: (range) => store.range(range),
      async transaction<T>(change: (tx: OrderedTransaction) => T): Promise<T> {
        await life.persistencePoint();
        const writes: Write[] = [];
        const result = await store.transaction((tx) =>
          change({
            get: (key) => tx.get(key),
            range: (range) => tx.range(range),
            put(key, value) {
              tx.put(key, value);
              writes.push([key, Uint8Array.from(value)]);
            },
            delete(key) {
              writes.push([key, undefined]);
              return tx.delete(key);
            },
          }),
        );
        file.#journal.push(writes);
        return result;
      },
      async flushed() {
        const upTo = file.#journal.length;
        await life.persistencePoint();
        file.#sync(upTo);
      },
      async clear() {
        await store.clear();
        file.wipe();
      },
      [Symbol.asyncDispose]: () => store[Symbol.asyncDispose](),
    };
  }

  /** A power loss: transactions after the last flush are lost, but for the first `kept` of them. */
  losePower(kept: number): void {
    this.#journal = this.#journal.slice(0, kept);
    this.#sync(this.#journal.length);
  }

  wipe(): void {
    this.#synced.clear();
    this.#journal = [];
  }

  backUp(): ReadonlyMap<string, Uint8Array> {
    return this.#content();
  }

  restore(backup: ReadonlyMap<string, Uint8Array>): void {
    this.wipe();
    for (const [key, value] of backup) this.#synced.set(key, value);
  }

  #content(): Map<string, Uint8Array> {
    const content = new Map(this.#synced);
    for (const writes of this.#journal) apply(content, writes);
    return content;
  }

  #sync(upTo: number): void {
    for (const writes of this.#journal.splice(0, upTo)) apply(this.#synced, writes);
  }
}

function apply(content: Map<string, Uint8Array>, writes: readonly Write[]): void {
  for (const [key, value] of writes) {
    if (value === undefined) content.delete(key);
    else content.set(key, value);
  }
}
