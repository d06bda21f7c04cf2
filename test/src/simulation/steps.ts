import { seeded } from "../harness/seeded.ts";

/** `tail`: the log is set back to what it was when the step came; `image`: and nobody at the site has a view that knows. */
export type Loss = "log" | "tail" | "everything" | "image";

/** What happens in a simulation, and after how many milliseconds. Each step means something whatever was before it. */
export type Step = { readonly afterMs: number } & (
  | {
      readonly kind: "push";
      readonly site: number;
      readonly repository: number;
      readonly tag: number;
      /** Numbers of blobs; other images have them too. */
      readonly layers: readonly number[];
      /** The manifest's number: few, so that tags come back to one that they had. */
      readonly manifest: number;
      readonly condition: "none" | "if-match" | "if-none-match";
      /** The links in a commit of their own before, as uploads do. */
      readonly links: boolean;
    }
  | {
      readonly kind: "delete-tag";
      readonly site: number;
      readonly repository: number;
      readonly tag: number;
      readonly condition: boolean;
    }
  | { readonly kind: "delete-manifest"; readonly site: number; readonly repository: number; readonly tag: number }
  | { readonly kind: "delete-repository"; readonly site: number; readonly repository: number }
  | { readonly kind: "delete-link"; readonly site: number; readonly repository: number; readonly layer: number }
  | { readonly kind: "cut"; readonly from: number; readonly to: number; readonly both: boolean; readonly forMs: number }
  | { readonly kind: "reset"; readonly from: number; readonly to: number }
  | { readonly kind: "delay"; readonly from: number; readonly to: number; readonly ms: number }
  | {
      readonly kind: "die";
      readonly site: number;
      readonly death: "kill" | "power loss";
      readonly points: number;
      readonly downMs: number;
      readonly dropView: boolean;
    }
  | {
      /** The site's disk loses its log, the end of it, or everything: not before its peers have copied what it has. */
      readonly kind: "lose";
      readonly site: number;
      readonly what: Loss;
      readonly downMs: number;
    }
  | { readonly kind: "skew"; readonly site: number; readonly ms: number; readonly forMs: number }
);

const KINDS: ReadonlyArray<readonly [Step["kind"], number]> = [
  ["push", 40],
  ["delete-tag", 12],
  ["delete-manifest", 6],
  ["delete-repository", 2],
  ["delete-link", 4],
  ["cut", 8],
  ["reset", 3],
  ["delay", 3],
  ["die", 10],
  ["skew", 3],
  ["lose", 2],
];
const WEIGHTED = KINDS.flatMap(([kind, weight]) => Array<Step["kind"]>(weight).fill(kind));

/** The steps of a seed. */
export function stepsOf(seed: number, { sites = 3 }: { sites?: number } = {}): Step[] {
  const draw = seeded(seed);
  const { integer, pick } = draw;
  const count = integer(8, 36);
  const site = (): number => integer(0, sites);
  const repository = (): number => integer(0, 2);
  const tag = (): number => integer(0, 3);
  const one = (kind: Step["kind"]): Step => {
    const afterMs = pick([0, 0, 1, 3, 10, 60, 400, 2_500]);
    switch (kind) {
      case "push": {
        const manifest = integer(0, 12);
        const layers = [manifest % 4, 4 + (manifest % 3)];
        const condition = pick(["none", "none", "none", "if-match", "if-none-match"] as const);
        return {
          kind,
          afterMs,
          site: site(),
          repository: repository(),
          tag: tag(),
          layers,
          manifest,
          condition,
          links: integer(0, 3) > 0,
        };
      }
      case "delete-tag":
        return { kind, afterMs, site: site(), repository: repository(), tag: tag(), condition: integer(0, 4) === 0 };
      case "delete-manifest":
        return { kind, afterMs, site: site(), repository: repository(), tag: tag() };
      case "delete-repository":
        return { kind, afterMs, site: site(), repository: repository() };
      case "delete-link":
        return { kind, afterMs, site: site(), repository: repository(), layer: integer(0, 7) };
      case "cut":
        return {
          kind,
          afterMs,
          from: site(),
          to: site(),
          both: integer(0, 2) === 0,
          forMs: pick([50, 1_000, 6_000, 20_000]),
        };
      case "reset":
        return { kind, afterMs, from: site(), to: site() };
      case "delay":
        return { kind, afterMs, from: site(), to: site(), ms: pick([0, 1, 40, 300]) };
      case "die": {
        const death = pick(["kill", "power loss"] as const);
        return {
          kind,
          afterMs,
          site: site(),
          death,
          points: integer(0, 12),
          downMs: pick([1, 500, 8_000]),
          dropView: integer(0, 4) === 0,
        };
      }
      case "lose": {
        const what = pick(["log", "tail", "everything"] as const);
        return { kind, afterMs, site: site(), what, downMs: pick([1, 8_000]) };
      }
      case "skew":
        return {
          kind,
          afterMs,
          site: site(),
          ms: pick([-4_000, -1_500, 1_500, 5_000]),
          forMs: pick([500, 5_000, 30_000]),
        };
    }
  };
  return Array.from({ length: count }, () => {
    return one(pick(WEIGHTED));
  });
}
