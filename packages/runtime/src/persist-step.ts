/** The steps by which a write becomes durable and is answered, in their order. */
export const PERSIST_STEPS = [
  "temporary file written",
  "before the file's fsync",
  "after the file's fsync",
  "before the rename",
  "after the rename",
  "before the folder's fsync",
  "before the log's commit",
  "after the log's commit",
  "before the answer",
] as const;

/** One of {@link PERSIST_STEPS}. */
export type PersistStep = (typeof PERSIST_STEPS)[number];

/** Is told each step as it is reached, before what follows begins. Absent but under `faults: true`. */
export type OnPersistStep = (step: PersistStep) => void;
