import { describeError, openRegistry, type RegistryClient } from "../client/registry-client.ts";
import { failure } from "../exit-status.ts";
import type { ServerOptions } from "../program/command.ts";

interface RestoreOptions extends ServerOptions {
  /** Only tags that were deleted at or after it. */
  readonly deletedAfter?: string;
}

interface Deleted {
  readonly tags: ReadonlyArray<{ readonly tag: string; readonly digest: string }>;
  readonly manifests: readonly string[];
  readonly next: string | null;
}

/** Requests that end in vain after so long, in milliseconds: a batch is fsynced and folded by every gateway. */
const TIMEOUT_MS = 60_000;

export async function runRepoDelete(name: string, options: ServerOptions): Promise<void> {
  const client = openRegistry(options);
  const gone = { tags: 0, manifests: 0 };
  for (let last: string | null = ""; last !== null; ) {
    const path: string = `/v2/${name}/_meridian/repository?n=100&last=${encodeURIComponent(last)}`;
    const answer = await ask<{ deleted: typeof gone; next: string | null }>(client, path, { method: "DELETE" });
    gone.tags += answer.deleted.tags;
    gone.manifests += answer.deleted.manifests;
    last = answer.next;
    if (!options.json && last !== null) process.stderr.write(`${name}: ${describe(gone)} deleted\n`);
  }
  const done = { repository: name, deleted: gone };
  process.stdout.write(options.json ? `${JSON.stringify(done)}\n` : `${name}: ${describe(gone)} deleted, all of it\n`);
}

export async function runRepoRestore(name: string, options: RestoreOptions): Promise<void> {
  const client = openRegistry(options);
  const after = options.deletedAfter === undefined ? undefined : Date.parse(options.deletedAfter);
  if (Number.isNaN(after)) throw failure(`"${options.deletedAfter}" is no time: RFC 3339 is wanted`);
  const restored = { tags: 0, manifests: 0 };
  const failed: { name: string; reason: string }[] = [];
  const attempt = async (what: "tags" | "manifests", one: string, json: unknown): Promise<void> => {
    const path = `/v2/${name}/_meridian/${what}/${one}/restore`;
    const answer = await client.call(path, { method: "POST", json, timeoutMs: TIMEOUT_MS });
    if (answer.status === 200) restored[what] += 1;
    else failed.push({ name: one, reason: describeError(answer) });
    if (!options.json) process.stderr.write(`${name}: ${describe(restored)} restored, ${failed.length} failed\n`);
  };
  for (let last: string | null = ""; last !== null; ) {
    const path: string = `/v2/${name}/_meridian/deleted?n=100${last === "" ? "" : `&last=${encodeURIComponent(last)}`}`;
    const page = await ask<Deleted>(client, path);
    for (const { tag, digest } of page.tags)
      if (after === undefined || (await deletedAt(client, name, tag)) >= after)
        await attempt("tags", tag, { to: digest });
    if (after === undefined) for (const digest of page.manifests) await attempt("manifests", digest, {});
    last = page.next;
  }
  const done = { repository: name, restored, failed };
  const lines = failed.map((one) => `${one.name}: ${one.reason}\n`).join("");
  process.stdout.write(
    options.json ? `${JSON.stringify(done)}\n` : `${name}: ${describe(restored)} restored\n${lines}`,
  );
  if (failed.length > 0) throw failure(`${failed.length} could not be restored`);
}

/** Milliseconds since the Unix epoch; 0 when the history does not tell. */
async function deletedAt(client: RegistryClient, name: string, tag: string): Promise<number> {
  const path = `/v2/${name}/_meridian/tags/${tag}/history?n=1`;
  const [last] = (await ask<{ history: { at: string; action: string }[] }>(client, path)).history;
  return last?.action === "deleted" ? Date.parse(last.at) : 0;
}

function describe({ tags, manifests }: { readonly tags: number; readonly manifests: number }): string {
  return `${tags} tags and ${manifests} manifests`;
}

async function ask<T>(client: RegistryClient, path: string, call: { readonly method?: string } = {}): Promise<T> {
  const answer = await client.call(path, { ...call, timeoutMs: TIMEOUT_MS });
  if (answer.status !== 200) throw failure(`${client.server}: ${describeError(answer)}`);
  return JSON.parse(answer.text) as T;
}
