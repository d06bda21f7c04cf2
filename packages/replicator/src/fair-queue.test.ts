import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { digestOf } from "@meridian/oci";
import { FairQueue } from "./fair-queue.ts";
import { BlobRank, Urgency, type WantedBlob } from "./wanted-blob.ts";

const KIB = 1024;

interface Wanted {
  readonly repository?: string;
  readonly size?: number;
  readonly rank?: BlobRank;
  readonly urgency?: Urgency;
}

function blob(name: string, wanted: Wanted = {}): WantedBlob {
  const { repository = "r", size = 1, rank = BlobRank.layer, urgency = Urgency.backlog } = wanted;
  const place = { size, rank, urgency, since: 0, readyAt: 0, failures: 0 };
  return { digest: digestOf(name), repositories: new Set([repository]), state: "ready", ...place };
}

/** The repositories of what is taken, in order. */
function taken(queue: FairQueue, most = Number.POSITIVE_INFINITY): string[] {
  const found: string[] = [];
  while (found.length < most) {
    const next = queue.pop();
    if (next === undefined) break;
    next.state = "fetching";
    found.push([...next.repositories][0]!);
  }
  return found;
}

describe("a link is shared among repositories", () => {
  it("by bytes: one with a backlog of large layers does not delay another's", () => {
    const queue = new FairQueue();
    for (let i = 0; i < 50; i++) queue.push(blob(`big ${i}`, { repository: "big", size: 900 * KIB }));
    for (let i = 0; i < 50; i++) queue.push(blob(`small ${i}`, { repository: "small", size: 90 * KIB }));
    const first = taken(queue, 24);
    assert.ok(first.filter((repository) => repository === "big").length <= 5, first.join());
    assert.equal(taken(queue).length, 76, "everything comes in the end");
  });

  it("and one of very many tiny blobs does not come first for ever", () => {
    const queue = new FairQueue();
    for (let i = 0; i < 500; i++) queue.push(blob(`tiny ${i}`, { repository: "tiny", size: 10 }));
    queue.push(blob("one", { repository: "other", size: 600 * KIB }));
    queue.push(blob("two", { repository: "other", size: 600 * KIB }));
    assert.equal(taken(queue, 30).filter((repository) => repository === "other").length, 2);
  });

  it("and one that comes late has no claim to what others had before", () => {
    const queue = new FairQueue();
    for (let i = 0; i < 40; i++) queue.push(blob(`early ${i}`, { repository: "early", size: 100 * KIB }));
    taken(queue, 20);
    for (let i = 0; i < 20; i++) queue.push(blob(`late ${i}`, { repository: "late", size: 100 * KIB }));
    const next = taken(queue, 20);
    const late = next.filter((repository) => repository === "late").length;
    assert.ok(late >= 8 && late <= 12, next.join());
  });
});

describe("what is urgent", () => {
  it("goes first: pulled, then named, then the backlog; in each, manifests before configs before layers", () => {
    const queue = new FairQueue();
    const want = (repository: string, urgency: Urgency, rank: BlobRank): void =>
      queue.push(blob(repository, { repository, urgency, rank }));
    want("backlog layer", Urgency.backlog, BlobRank.layer);
    want("backlog manifest", Urgency.backlog, BlobRank.manifest);
    want("named layer", Urgency.named, BlobRank.layer);
    want("named config", Urgency.named, BlobRank.config);
    want("pulled layer", Urgency.pulled, BlobRank.layer);
    want("pulled manifest", Urgency.pulled, BlobRank.manifest);
    const wanted = [
      "pulled manifest",
      "pulled layer",
      "named config",
      "named layer",
      "backlog manifest",
      "backlog layer",
    ];
    assert.deepEqual(taken(queue), wanted);
  });

  it("never stops the backlog altogether", () => {
    const queue = new FairQueue();
    for (let i = 0; i < 40; i++) queue.push(blob(`named ${i}`, { repository: "named", urgency: Urgency.named }));
    queue.push(blob("old", { repository: "old" }));
    assert.ok(taken(queue, 10).includes("old"));
  });

  it("may become so while it waits", () => {
    const queue = new FairQueue();
    for (let i = 0; i < 5; i++) queue.push(blob(`b${i}`));
    const pulled = blob("x", { repository: "x", size: 1_000 });
    queue.push(pulled);
    pulled.urgency = Urgency.pulled;
    queue.push(pulled);
    const order = taken(queue);
    assert.deepEqual([order[0], order.length], ["x", 6], "first, and once");
  });
});
