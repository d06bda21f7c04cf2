import { ContentError, ContentErrorKind } from "@meridian/oci";

interface Task {
  readonly run: () => Promise<void>;
}

/**
 * Runs a few tasks at once, the others wait. Keys take turns and a key runs one task at a time, so that one who asks
 * much makes others wait little.
 */
export class FairQueue {
  readonly #concurrency: number;
  readonly #maxWaiting: number;
  /** In the order of their next turn. */
  readonly #waiting = new Map<string, Task[]>();
  readonly #busy = new Set<string>();
  #waitingCount = 0;

  constructor(options: { concurrency: number; maxWaiting: number }) {
    this.#concurrency = options.concurrency;
    this.#maxWaiting = options.maxWaiting;
  }

  /**
   * Resolves or rejects as `task` does, when its turn has come.
   * @throws ContentError `unavailable` when too many wait already.
   */
  run<T>(key: string, task: () => Promise<T>): Promise<T> {
    if (this.#waitingCount >= this.#maxWaiting)
      return Promise.reject(new ContentError(ContentErrorKind.unavailable, "too many logins at once, try again soon"));
    return new Promise((resolve, reject) => {
      const tasks = this.#waiting.get(key) ?? [];
      tasks.push({ run: () => task().then(resolve, reject) });
      this.#waiting.set(key, tasks);
      this.#waitingCount++;
      this.#next();
    });
  }

  #next(): void {
    for (const [key, tasks] of this.#waiting) {
      if (this.#busy.size >= this.#concurrency) return;
      if (!this.#busy.has(key)) this.#start(key, tasks);
    }
  }

  #start(key: string, tasks: Task[]): void {
    const task = tasks.shift()!;
    this.#waitingCount--;
    this.#waiting.delete(key);
    // Back to the end of the line.
    if (tasks.length > 0) this.#waiting.set(key, tasks);
    this.#busy.add(key);
    const done = (): void => {
      this.#busy.delete(key);
      this.#next();
    };
    task.run().then(done, done);
  }
}
