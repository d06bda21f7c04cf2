import { ContentError, ContentErrorKind } from "@meridian/oci";
import type { CallContext, ServiceImpl } from "@meridian/rpc";
import type { policyV1 } from "@meridian/wire";
import { memberKey } from "./entry-key.ts";
import { durableSeq, HomeSession, resumePoint } from "./home-session.ts";
import type { PolicyHome } from "./policy-home.ts";
import { positionFromWire, positionToWire } from "./position.ts";
import type { PolicyRuntime } from "./replica.ts";

/** The version of the tail's conversation. */
export const TAIL_VERSION = 1;
/** Entries in one response; an entry has at most 64 KiB, most have a few hundred bytes. */
const MAX_ENTRIES = 200;
const MAX_BYTES = 1 << 20;

type Requests = AsyncIterable<policyV1.TailRequest>;
type Response = Awaited<ReturnType<AsyncIterator<TailResponses>["next"]>>["value"];
type TailResponses =
  ReturnType<ServiceImpl<typeof policyV1.PolicyLogService>["tail"]> extends AsyncIterable<infer R> ? R : never;

/** Serves members that tail the home: one conversation per member, a newer one ends the older. */
export class TailService {
  readonly #home: PolicyHome;
  readonly #runtime: PolicyRuntime;
  readonly #sessions = new Map<string, HomeSession>();

  constructor(runtime: PolicyRuntime, home: PolicyHome) {
    this.#runtime = runtime;
    this.#home = home;
  }

  /** Ends every conversation. */
  close(): void {
    for (const session of this.#sessions.values()) session.end();
  }

  async *tail(requests: Requests, context: CallContext): AsyncGenerator<Response> {
    const reader = requests[Symbol.asyncIterator]();
    const hello = await readHello(reader);
    const exclusion = this.#exclusionOf(hello.site);
    if (exclusion !== undefined && isOwnName(hello, context)) {
      this.#home.knocked(hello.site);
      yield { version: TAIL_VERSION, entries: [], nonce: 0n, exclusion };
      return;
    }
    const session = this.#enter(hello, context);
    const onAbort = (): void => session.end();
    context.signal.addEventListener("abort", onAbort, { once: true });
    if (context.signal.aborted) session.end();
    // Its end is not waited for: the reader may wait for a report that never comes. A failure ends the session.
    this.#takeReports(session, reader).catch(() => undefined);
    try {
      yield* this.#send(session, hello);
    } finally {
      session.end();
      context.signal.removeEventListener("abort", onAbort);
      if (this.#sessions.get(session.site) === session) this.#sessions.delete(session.site);
    }
  }

  /** What a site is told that was a member; undefined for one that is, or never was. */
  #exclusionOf(
    site: string,
  ): { state: policyV1.MemberState; revision: ReturnType<typeof positionToWire> & {} } | undefined {
    const { state } = this.#home.effective;
    const member = state.sites.get(site);
    if (member === undefined || this.#home.mayTail(site)) return undefined;
    const epoch = state.position?.epoch ?? { number: 0, site: "" };
    return { state: member.state, revision: positionToWire({ epoch, seq: state.revisionOf(memberKey(site)) })! };
  }

  #enter(hello: policyV1.TailHello, context: CallContext): HomeSession {
    const { site } = hello;
    if (context.peer && context.peer.site !== site)
      throw new ContentError(ContentErrorKind.denied, `${context.peer.site} may not tail the policy log as ${site}`);
    if (!hello.versions.includes(TAIL_VERSION))
      throw new ContentError(
        ContentErrorKind.invalid,
        `${site} speaks none of this home's policy tail versions (${TAIL_VERSION})`,
      );
    if (!this.#home.mayTail(site)) {
      this.#home.knocked(site);
      throw new ContentError(
        ContentErrorKind.denied,
        `${site} is not a member of this cluster: \`meridian site add ${site}\` makes it one`,
      );
    }
    this.#home.greet(site, positionFromWire(hello.last));
    if (this.#home.halted) throw new ContentError(ContentErrorKind.fenced, this.#home.halted);
    this.#sessions.get(site)?.end();
    const session = new HomeSession(site);
    this.#sessions.set(site, session);
    return session;
  }

  async #takeReports(session: HomeSession, reader: AsyncIterator<policyV1.TailRequest>): Promise<void> {
    try {
      for (;;) {
        const { value, done } = await reader.next();
        if (done || session.ended) return;
        if (value.message.case !== "report") continue;
        session.nonce = value.message.value.nonce;
        session.reports++;
        this.#home.report(session.site, durableSeq(this.#home.store.mirror, value.message.value));
        session.changes.emit();
      }
    } finally {
      session.end();
    }
  }

  async *#send(session: HomeSession, hello: policyV1.TailHello): AsyncGenerator<Response> {
    const { mirror, last } = this.#home.store;
    const start = resumePoint(mirror, last, positionFromWire(hello.last));
    session.sentSeq = start.after?.seq ?? 0;
    if (start.truncate) yield this.#response(session, [], start.after ?? { epoch: { number: 0, site: "" }, seq: 0 });
    const subscription = this.#home.effective.changes.subscribe(() => session.changes.emit());
    try {
      while (!session.ended) {
        const seen = this.#marks(session);
        yield this.#response(session, this.#nextEntries(session));
        if (this.#home.store.lastSeq > session.sentSeq) continue;
        // It has been sent what ended its membership, and that this is effective.
        if (this.#exclusionOf(session.site) !== undefined) return;
        await session.changes.until(() => session.ended || this.#marks(session) !== seen, {
          timers: this.#runtime.timers,
          timeoutMs: this.#runtime.timing.heartbeatMs,
        });
      }
    } finally {
      subscription[Symbol.dispose]();
    }
  }

  /** Changes when there is something to say. */
  #marks(session: HomeSession): string {
    const { store } = this.#home;
    return `${store.lastSeq}/${store.mirror.commit?.seq ?? 0}/${session.reports}`;
  }

  #nextEntries(session: HomeSession): policyV1.Entry[] {
    const entries: policyV1.Entry[] = [];
    let bytes = 0;
    while (entries.length < MAX_ENTRIES && bytes < MAX_BYTES) {
      const entry = this.#home.store.mirror.at(session.sentSeq + 1);
      if (!entry) break;
      entries.push(entry);
      // Only a bound is needed: what varies is the document, and the largest parts of one are these.
      bytes += 512 + entry.key.length + (entry.doc.case === "user" ? entry.doc.value.passwordHash.length : 0);
      session.sentSeq++;
    }
    return entries;
  }

  #response(
    session: HomeSession,
    entries: policyV1.Entry[],
    truncateAfter?: Parameters<typeof positionToWire>[0],
  ): Response {
    const commit = positionToWire(this.#home.store.mirror.commit);
    const truncate = positionToWire(truncateAfter);
    return {
      version: TAIL_VERSION,
      entries,
      // A home that a majority no longer hears may have been replaced: its word makes nobody fresh.
      nonce: this.#home.isCurrent ? session.nonce : 0n,
      ...(commit ? { commit } : {}),
      ...(truncate ? { truncateAfter: truncate } : {}),
    };
  }
}

/** A site may only ask for itself. */
function isOwnName({ site }: policyV1.TailHello, { peer }: CallContext): boolean {
  return peer === undefined || peer.site === site;
}

async function readHello(reader: AsyncIterator<policyV1.TailRequest>): Promise<policyV1.TailHello> {
  const { value, done } = await reader.next();
  if (done || value.message.case !== "hello")
    throw new ContentError(ContentErrorKind.invalid, "a policy tail starts with a hello");
  return value.message.value;
}
