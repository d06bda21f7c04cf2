import { diffV1 } from "@meridian/wire";

/** So many differences are told one by one. */
const MAX_TOLD = 1_000;

export type Difference = Omit<diffV1.Difference, "$typeName">;
export type ComparisonMessage = Omit<diffV1.Comparison, "$typeName" | "differences"> & { differences: Difference[] };

const { FOUND, REPAIRED, LEFT } = diffV1.DifferenceState;

/** One comparison of this site with another, under way or done: what it found, and what became of it. */
export class Comparison {
  readonly site: string;
  readonly other: string;
  readonly repair: boolean;
  readonly startedAt: number;
  finishedAt = 0;
  phase = "begins";
  registers = 0;
  blobs = 0;
  messages = 0;
  underWay = 0;
  failure = "";
  /** More differs than is looked at in one go. */
  cutShort = false;
  readonly #differences: Difference[] = [];

  constructor(options: { site: string; other: string; repair: boolean; startedAt: number }) {
    this.site = options.site;
    this.other = options.other;
    this.repair = options.repair;
    this.startedAt = options.startedAt;
  }

  /** Told of each difference once; it is changed when it is repaired, or cannot be. */
  found(difference: Pick<Difference, "kind" | "name" | "left" | "right">): FoundDifference {
    const told = { ...difference, state: FOUND as diffV1.DifferenceState, detail: "" };
    this.#differences.push(told);
    return {
      repaired: () => void Object.assign(told, { state: REPAIRED }),
      left: (detail) => void Object.assign(told, { state: LEFT, detail }),
    };
  }

  /** How many differences of each kind there are, and how many were repaired. */
  counts(): Map<string, { found: number; repaired: number }> {
    const counts = new Map<string, { found: number; repaired: number }>();
    for (const { kind, state } of this.#differences) {
      const known = counts.get(kind) ?? { found: 0, repaired: 0 };
      counts.set(kind, { found: known.found + 1, repaired: known.repaired + Number(state === REPAIRED) });
    }
    return counts;
  }

  get foundCount(): number {
    return this.#differences.length;
  }

  get repairedCount(): number {
    return this.#differences.filter(({ state }) => state === REPAIRED).length;
  }

  /** The first few, for a line of the log. */
  examples(): string[] {
    return this.#differences.slice(0, 5).map(({ kind, name, left, right }) => `${kind} ${name}: ${left}; ${right}`);
  }

  message(): ComparisonMessage {
    return {
      ...{ site: this.site, other: this.other, repair: this.repair, phase: this.phase, failure: this.failure },
      startedMs: BigInt(Math.round(this.startedAt)),
      finishedMs: BigInt(Math.round(this.finishedAt)),
      registers: BigInt(this.registers),
      blobs: BigInt(this.blobs),
      messages: BigInt(this.messages),
      found: BigInt(this.foundCount),
      repaired: BigInt(this.repairedCount),
      underWay: BigInt(this.underWay),
      differences: this.#differences.slice(0, MAX_TOLD),
    };
  }
}

/** What becomes of a difference. */
export interface FoundDifference {
  repaired(): void;
  /** It stays; `detail` says why. */
  left(detail: string): void;
}
