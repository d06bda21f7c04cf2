import { Agent, get, type IncomingMessage } from "node:http";
import { type Peer, REPOSITORY, type ReadTarget } from "./peers/peer.ts";
import { type Figure, type PlannedRow, planned, SECONDS } from "./rounds.ts";

const CLIENTS = 10;

/**
 * What a client does that was just started: a connection, a token, a manifest by tag, over plain HTTP/1.1. A peer that
 * lets everybody in is spared the token.
 */
export function firstPullRow(peers: readonly Peer[]): PlannedRow {
  const workers = peers.flatMap((peer) => {
    const target = peer.read("manifest", false);
    return target === undefined ? [] : [{ name: peer.name, peer, run: () => round(peer, target) }];
  });
  return planned({ work: "new connection, token, manifest", unit: "/s", targets: [] }, workers);
}

async function round({ basic }: Peer, target: ReadTarget): Promise<Figure> {
  const { origin } = new URL(target.url);
  const query = `service=${encodeURIComponent(await serviceOf(origin))}&scope=repository:${REPOSITORY}:pull`;
  const started = performance.now();
  const until = started + SECONDS * 1000;
  let pieces = 0;
  const client = async (): Promise<void> => {
    while (performance.now() < until) {
      const agent = new Agent({ keepAlive: true, maxSockets: 1 });
      let { headers } = target;
      if (basic !== undefined) {
        const answer = await fetchText(`${origin}/token?${query}`, { authorization: basic }, agent);
        headers = { authorization: `Bearer ${(JSON.parse(answer) as { token: string }).token}` };
      }
      await fetchText(target.url, headers, agent);
      agent.destroy();
      pieces += 1;
    }
  };
  await Promise.all(Array.from({ length: CLIENTS }, client));
  return { value: (pieces * 1000) / (performance.now() - started), pieces };
}

async function serviceOf(origin: string): Promise<string> {
  const challenge = (await fetch(`${origin}/v2/`)).headers.get("www-authenticate") ?? "";
  return /service="([^"]*)"/.exec(challenge)?.[1] ?? "";
}

function fetchText(url: string, headers: Readonly<Record<string, string>>, agent: Agent): Promise<string> {
  return new Promise((resolve, reject) => {
    get(url, { headers, agent }, (answer: IncomingMessage) => {
      let text = "";
      answer.setEncoding("latin1");
      answer.on("data", (chunk: string) => {
        text += chunk;
      });
      answer.on("error", reject);
      answer.on("end", () =>
        answer.statusCode === 200 ? resolve(text) : reject(new Error(`${url}: ${answer.statusCode} ${text}`)),
      );
    }).on("error", reject);
  });
}
