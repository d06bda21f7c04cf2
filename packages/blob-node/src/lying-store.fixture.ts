import type { BlobStore, ByteSink, OpenBlob } from "@meridian/storage";

/** A store that takes blobs as they are and gives them back with one wrong byte, as a broken or hostile node would. */
export function lyingStore(store: BlobStore, at: number): BlobStore {
  const open = async (...[digest]: Parameters<BlobStore["open"]>): Promise<OpenBlob | undefined> => {
    const blob = await store.open(digest);
    return blob && lyingBlob(blob, at);
  };
  return new Proxy(store, {
    get(target, name) {
      if (name === "open") return open;
      const value: unknown = Reflect.get(target, name);
      return typeof value === "function" ? value.bind(target) : value;
    },
  });
}

function lyingBlob(blob: OpenBlob, at: number): OpenBlob {
  return {
    size: blob.size,
    read(span, sink, options) {
      let position = span.start;
      const lying: ByteSink = {
        write(chunk) {
          const said = Buffer.from(chunk);
          const wrong = at - position;
          position += said.length;
          if (wrong >= 0 && wrong < said.length) said[wrong]! ^= 1;
          return sink.write(said);
        },
      };
      return blob.read(span, lying, options);
    },
    [Symbol.asyncDispose]: () => blob[Symbol.asyncDispose](),
  };
}
