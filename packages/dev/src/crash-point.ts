import { type OnPersistStep, PERSIST_STEPS, type PersistStep } from "@meridian/runtime";

/** A step of a write at which the process is to die. */
export interface CrashPoint {
  /** Given to whatever writes. */
  readonly reached: OnPersistStep;
  /**
   * From now on the process dies when it reaches `step`, after letting it pass `skip` times.
   * @throws Error when there is no such step, or `skip` is no whole number from 0 to 1 000.
   */
  arm(step: unknown, skip: unknown): PersistStep;
}

const MAX_SKIP = 1_000;

/** `die` must end the process at once, as a power loss would end the machine. */
export function createCrashPoint(die: () => void): CrashPoint {
  let armed: { readonly step: PersistStep; left: number } | undefined;
  return {
    reached(step) {
      if (armed === undefined || armed.step !== step) return;
      if (armed.left === 0) die();
      armed.left -= 1;
    },
    arm(wanted, skip = 0) {
      const step = PERSIST_STEPS.find((known) => known === wanted);
      if (step === undefined) throw new Error(`crashAt: one of ${PERSIST_STEPS.join(", ")} is wanted`);
      if (typeof skip !== "number" || !Number.isSafeInteger(skip) || skip < 0 || skip > MAX_SKIP)
        throw new Error(`skip: a whole number from 0 to ${MAX_SKIP} is wanted`);
      armed = { step, left: skip };
      return step;
    },
  };
}
