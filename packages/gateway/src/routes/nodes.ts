import { type NodeWatch, nodeName, type Peers, type ProcessAddress, Role, type Topology } from "@meridian/cluster";
import type { Logger } from "@meridian/runtime";
import { blobV1, nodeV1 } from "@meridian/wire";
import { z } from "zod";
import type { Access } from "../access.ts";
import { type AnswerHeaders, CacheControl, sendJson } from "../answer.ts";
import type { Exchange } from "../exchange.ts";
import type { ResourceHandlers } from "../handler.ts";
import { readJson } from "../json-body.ts";
import { Refusal, unavailable } from "../refusal.ts";
import type { SiteProxy } from "../site-proxy.ts";

interface NodesParts {
  readonly access: Access;
  readonly answers: AnswerHeaders;
  readonly topology: Topology;
  readonly peers: Peers;
  readonly proxy: SiteProxy;
  readonly watch: Pick<NodeWatch, "state">;
  /** Nodes that are to keep each blob. */
  readonly copies: () => number;
  readonly log: Logger;
}

const TIMEOUT_MS = 3_000;

const changeSchema = z.strictObject({ state: z.enum(["active", "draining"]) });

/**
 * `GET /v2/_meridian/nodes/<site>`: the site's blob nodes with what they hold, and how far its copies are from where
 * they belong. For administrators; passed on to a gateway of the site.
 */
export function nodesRoute(parts: NodesParts): ResourceHandlers {
  return {
    GET: async (exchange, { reference: site }) => {
      await admit(exchange, parts);
      if (await passedOn(exchange, site, parts)) return;
      const { topology, peers } = parts;
      const nodes = peers.processes(Role.blobNode, topology.site);
      const [described, settling] = await Promise.all([
        Promise.all(nodes.map((address) => describe(address, parts))),
        settlingOf(parts),
      ]);
      described.sort((a, b) => (a.node < b.node ? -1 : 1));
      send(exchange, parts, { site, copies: parts.copies(), nodes: described, settling });
    },
  };
}

/**
 * `PUT /v2/_meridian/nodes/<site>/<node>` with `{"state":"draining"}` or `{"state":"active"}`: a node that is drained takes
 * no new bytes, and what it has moves to the others.
 */
export function nodeRoute(parts: NodesParts): ResourceHandlers {
  return {
    PUT: async (exchange, { reference: name }) => {
      await admit(exchange, parts);
      const [site = "", process = ""] = name.split("/");
      if (await passedOn(exchange, site, parts)) return;
      const { state } = await readJson(exchange, changeSchema);
      const { peers, topology, log } = parts;
      const address = peers.process(topology.site, process);
      if (address?.roles.includes(Role.blobNode) !== true) throw noSuchNode(name, parts);
      if (state === "draining") requireOthers(name, parts);
      try {
        const client = peers.client(nodeV1.NodeService, address);
        await client.setDraining({ draining: state === "draining" }, { timeoutMs: TIMEOUT_MS });
      } catch (error) {
        throw unavailable(`${name} could not be told: is it running?`, { cause: error });
      }
      log.info("a blob node's standing was changed", { node: name, state });
      send(exchange, parts, await describe(address, parts));
    },
  };
}

async function admit(exchange: Exchange, { access }: NodesParts): Promise<void> {
  const principal = await access.admitAny(exchange);
  const decision = access.decide(exchange, principal, { resource: { kind: "registry" }, action: "admin" });
  if (decision.allow) return;
  throw new Refusal("DENIED", "only administrators may look after blob nodes", {
    detail: { policyId: decision.policyId, policyRevision: decision.revision },
    headers: ["Meridian-Policy-Revision", decision.revision],
  });
}

async function passedOn(exchange: Exchange, site: string, { topology, proxy }: NodesParts): Promise<boolean> {
  if (site === topology.site) return false;
  if (!topology.sites.includes(site)) {
    throw new Refusal("UNSUPPORTED", `there is no site ${site}; there are ${topology.sites.join(", ")}`, {
      status: 404,
    });
  }
  await proxy.pass(exchange, site, "what was asked about");
  return true;
}

function noSuchNode(name: string, { peers, topology }: NodesParts): Refusal {
  const known = peers.processes(Role.blobNode, topology.site).map(nodeName).toSorted().join(", ");
  const message = `there is no blob node ${name}; there are ${known}. Add it to topology.processes in the configuration of every process, which take it over while they run, and start it`;
  return new Refusal("UNSUPPORTED", message, { status: 404 });
}

function requireOthers(name: string, { peers, topology, watch }: NodesParts): void {
  const others = peers.processes(Role.blobNode, topology.site).map(nodeName);
  if (others.some((node) => node !== name && watch.state(node) === "active")) return;
  const message = `${name} cannot be drained: no other blob node of the site takes bytes. Add one first`;
  throw new Refusal("UNSUPPORTED", message, { status: 409 });
}

/** What a node says of itself; only its name and zone when it does not answer. */
async function describe(address: ProcessAddress, { peers, watch }: NodesParts) {
  const node = nodeName(address);
  const zone = address.zone ?? null;
  try {
    const options = { timeoutMs: TIMEOUT_MS };
    const client = peers.client(nodeV1.NodeService, address);
    const [standing, status] = await Promise.all([
      client.state({}, options),
      peers.client(blobV1.BlobNodeService, address).status({}, options),
    ]);
    // What is on the disk decides, not what the node counted: files may have been removed behind its back.
    const isEmpty = standing.draining && (await client.list({ limit: 1 }, options)).blobs.length === 0;
    const state = isEmpty ? "empty" : standing.draining ? "draining" : "active";
    const drained = { blobs: Number(standing.drainBlobs), bytes: Number(standing.drainBytes) };
    return {
      ...{ node, zone, state, answers: watch.state(node) !== "away" },
      ...{ blobs: isEmpty ? 0 : Number(status.blobs), bytes: isEmpty ? 0 : Number(status.bytes) },
      freeBytes: Number(status.freeBytes),
      atDrainStart: standing.draining ? drained : null,
    };
  } catch {
    return { node, zone, state: "away", answers: false, blobs: null, bytes: null, freeBytes: null, atDrainStart: null };
  }
}

/** What this site's replicator says of its copies; null when none answers. */
async function settlingOf({ peers, topology }: NodesParts) {
  for (const address of peers.processes(Role.replicator, topology.site)) {
    try {
      const found = await peers.client(nodeV1.CopyService, address).copies({}, { timeoutMs: TIMEOUT_MS });
      const { waiting, copied, copiedBytes, removed, failed, scanning } = found;
      return {
        ...{ waiting: Number(waiting), copied: Number(copied), copiedBytes: Number(copiedBytes) },
        ...{ removed: Number(removed), failed: Number(failed), scanning },
      };
    } catch {
      // Another one may know.
    }
  }
  return null;
}

function send(exchange: Exchange, { answers }: NodesParts, body: unknown): void {
  sendJson(exchange, 200, [...answers.fixed, "Cache-Control", CacheControl.never], body);
}
