import { type ImageReference, parseImage } from "../client/image-reference.ts";
import { describeError, openRegistry, type RegistryClient } from "../client/registry-client.ts";
import { failure, usageError } from "../exit-status.ts";
import type { ServerOptions } from "../program/command.ts";
import { formatTable } from "./table.ts";

/** One write, as `GET …/history` tells it. */
interface Write {
  readonly at: string;
  readonly who: string;
  readonly site: string;
  readonly action: "put" | "restored" | "deleted";
  readonly digest: string | null;
  readonly from: string | null;
  readonly lostTo: { readonly digest: string; readonly site: string } | null;
}

interface RestoreOptions extends ServerOptions {
  readonly to?: string;
  readonly before?: string;
}

const SHOWN_DIGEST_LENGTH = "sha256:".length + 12;

export async function runTagHistory(image: string, options: ServerOptions): Promise<void> {
  const { client, named } = openTag(image, options);
  const history: Write[] = [];
  for (let path: string | undefined = tagPath(named, "history"); path !== undefined; ) {
    const { status, text, headers } = await client.call(path);
    if (status !== 200) throw failure(`${client.server}: ${describeError({ status, text, headers })}`);
    history.push(...(JSON.parse(text) as { history: Write[] }).history);
    path = /^<([^>]+)>; rel="next"$/.exec(String(headers.link))?.[1];
  }
  const { repository, reference: tag } = named;
  if (options.json) return void process.stdout.write(`${JSON.stringify({ repository, tag, history })}\n`);
  if (history.length === 0) throw failure(`nothing is known of tag ${tag} of ${repository}`);
  const rows = history.map(({ at, who, site, digest, from, ...write }) => {
    return [at, site, who, describeAction(write), short(from), short(digest)];
  });
  process.stdout.write(formatTable(["WHEN", "WHERE", "WHO", "WHAT", "FROM", "TO"], rows));
}

export async function runTagRestore(image: string, { to, before, ...options }: RestoreOptions): Promise<void> {
  const { client, named } = openTag(image, options);
  const answer = await ask(client, tagPath(named, "restore"), { method: "POST", json: { to, before } });
  const { digest, changed } = answer as { digest: string; changed: boolean };
  const text = changed ? `names ${digest} again` : `names ${digest} already`;
  process.stdout.write(
    options.json ? `${JSON.stringify(answer)}\n` : `${named.repository}:${named.reference} ${text}\n`,
  );
}

export async function runTagDelete(image: string, options: ServerOptions): Promise<void> {
  const { client, named } = openTag(image, options);
  const { repository, reference: tag } = named;
  await ask(client, `/v2/${repository}/manifests/${tag}`, { method: "DELETE" }, 202);
  const done = options.json ? JSON.stringify({ repository, tag, deleted: true }) : `${repository}:${tag} is deleted`;
  process.stdout.write(`${done}\n`);
}

/** @throws CommandError (exit code 2) when the image is named by a digest. */
function openTag(image: string, options: ServerOptions): { client: RegistryClient; named: ImageReference } {
  const named = parseImage(image);
  if (named.reference.includes(":")) throw usageError(`"${image}" names a digest: name:tag is wanted`);
  const { server = named.registry } = options;
  return { client: openRegistry(server === undefined ? options : { ...options, server }), named };
}

function tagPath({ repository, reference }: ImageReference, word: string): string {
  return `/v2/${repository}/_meridian/tags/${reference}/${word}`;
}

function describeAction({ action, lostTo }: Pick<Write, "action" | "lostTo">): string {
  return lostTo === null ? action : `${action}, lost to ${short(lostTo.digest)} of ${lostTo.site} (conflict)`;
}

function short(digest: string | null): string {
  return digest === null ? "-" : digest.slice(0, SHOWN_DIGEST_LENGTH);
}

async function ask(
  client: RegistryClient,
  path: string,
  call: { readonly method: string; readonly json?: unknown },
  wanted = 200,
): Promise<unknown> {
  const answer = await client.call(path, { ...call, timeoutMs: 30_000 });
  if (answer.status !== wanted) throw failure(`${client.server}: ${describeError(answer)}`);
  return answer.text === "" ? undefined : JSON.parse(answer.text);
}
