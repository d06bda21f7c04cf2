import { orderedStoreContract } from "./contract.ts";
import { createMemoryStore } from "./memory-store.ts";

orderedStoreContract("memory", async () => createMemoryStore());
