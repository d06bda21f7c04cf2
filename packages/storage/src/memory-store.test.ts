import { blobStoreContract } from "./contract.ts";
import { createMemoryBlobStore } from "./memory-store.ts";

blobStoreContract(
  "memory",
  async () => {
    const store = createMemoryBlobStore();
    return { store, [Symbol.asyncDispose]: () => store[Symbol.asyncDispose]() };
  },
  { survivesReopen: false, knowsFreeBytes: false },
);
