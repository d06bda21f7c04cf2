import assert from "node:assert/strict";
import { test } from "node:test";
import { formatVersion } from "@meridian/catalog";
import type { Peers, ProcessAddress, SiteHealth, Topology } from "@meridian/cluster";
import { ContentError, digestOf } from "@meridian/oci";
import type { collectionV1 } from "@meridian/wire";
import { createConfirm } from "./confirm.ts";

const SITES = ["eu", "us"];
const version = (sequence: number): string =>
  formatVersion(new Map([["us", { incarnation: { created: 1n, id: "a" }, sequence }]]));

type Answer = Pick<collectionV1.ConfirmResponse, "needed" | "pinned" | "version" | "instances">;
type Request = {
  readonly members: readonly string[];
  readonly version: string;
  readonly questions: readonly { readonly digest: string }[];
};

/** Members in this process, each answering by a function; the requests they got. */
function members(answer: (site: string, request: Request, round: number) => Answer) {
  const asked: { site: string; request: Request }[] = [];
  const processes = SITES.map((site): ProcessAddress => ({ site, process: "site", roles: ["gateway"], grpc: "x:1" }));
  const live = { sites: SITES };
  const topology: Topology = {
    ...{ cluster: "c", site: "eu", process: "site", processes },
    get sites() {
      return live.sites;
    },
  };
  const health = new Map<string, SiteHealth["state"]>();
  const peers = {
    topology,
    processes: (_role: string, site?: string) => processes.filter((one) => one.site === site),
    client: (_service: unknown, { site }: ProcessAddress) => ({
      async confirm(request: Request): Promise<Answer> {
        asked.push({ site, request });
        return answer(site, request, asked.filter((one) => one.site === site).length);
      },
    }),
  } as unknown as Peers;
  const monitor = {
    health: (site: string) => ({ site, state: health.get(site) ?? "live", failing: [] }) as SiteHealth,
  };
  return { asked, health, live, confirm: createConfirm({ topology, peers, monitor }) };
}

const free = (request: Request, more: Partial<Answer> = {}): Answer => ({
  needed: request.questions.map(() => false),
  pinned: request.questions.map(() => false),
  version: version(0),
  instances: ["1"],
  ...more,
});
const questions = ["a", "b", "c"].map((name) => ({ digest: digestOf(name) }));
const { signal } = new AbortController();

test("what every member says twice that it does not need may go; only that is asked twice", async () => {
  const { asked, confirm } = members((site, request, round) =>
    free(request, {
      needed: request.questions.map(
        ({ digest }) =>
          (site === "us" && digest === questions[1]!.digest) || (round === 2 && digest === questions[2]!.digest),
      ),
    }),
  );
  assert.deepEqual(await confirm.everywhere(questions, { version: version(1), signal }), [true, false, false]);
  assert.deepEqual(
    asked.map(({ request }) => request.questions.length),
    [3, 3, 2, 2],
  );
});

test("in the second round everybody folds what all had written by the first", async () => {
  const { asked, confirm } = members((site, request) => free(request, { version: version(site === "us" ? 9 : 3) }));
  await confirm.everywhere(questions, { version: version(1), signal });
  assert.deepEqual(
    asked.map(({ request }) => request.version),
    [version(1), version(1), version(9), version(9)],
  );
});

test("a gateway that was started between the rounds makes them void", async () => {
  const { confirm } = members((_site, request, round) => free(request, { instances: [String(round)] }));
  await assert.rejects(confirm.everywhere(questions, { version: version(1), signal }), { kind: "unavailable" });
});

test("whoever cannot be asked is named, and why", async () => {
  const { health, confirm } = members((site, request) => {
    if (site === "us") throw new ContentError("unavailable", "gateway gateway-2 cannot be asked: it is away");
    return free(request);
  });
  const asking = () => confirm.everywhere(questions, { version: version(1), signal });
  await assert.rejects(asking(), { message: "us: site: gateway gateway-2 cannot be asked: it is away" });
  health.set("us", "down");
  await assert.rejects(asking(), { message: "us: the site does not answer" });
});

test("a site that is no member any more is not waited for; each that is asked hears who else is", async () => {
  const { asked, health, live, confirm } = members((_site, request) => free(request));
  health.set("us", "down");
  await assert.rejects(confirm.everywhere(questions, { version: version(1), signal }), /us: the site does not answer/);
  live.sites = ["eu"];
  assert.deepEqual(await confirm.everywhere(questions, { version: version(1), signal }), [true, true, true]);
  assert.deepEqual(asked.at(-1)?.request.members, ["eu"]);
});
