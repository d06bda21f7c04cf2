import type { IdentifyPeer, Logger, Timers, TlsSource } from "@meridian/runtime";
import { createByteClient } from "./byte-client.ts";
import type { NodeBytes } from "./node-bytes.ts";

/** What {@link createNodeDirectory} needs. */
export interface NodeDirectoryOptions {
  /** Origin of the byte listener of a node, as site/process; undefined when there is no such node. Asked each time. */
  readonly urlOf: (node: string) => string | undefined;
  /** Absent only for plain HTTP, in tests. */
  readonly tls?: TlsSource;
  readonly identify?: IdentifyPeer;
  readonly log: Logger;
  readonly timers?: Timers;
}

/** Finds the bytes of a node by its name: of this process directly, of others by clients that keep their connections. */
export interface NodeDirectory extends AsyncDisposable {
  /** Undefined when no such node is known. */
  bytesOf(node: string): NodeBytes | undefined;
  /** Names a node of this process: it is called directly from now on, until disposed. */
  attach(node: string, bytes: NodeBytes): Disposable;
}

/** Clients are made when they are first asked for. */
export function createNodeDirectory(options: NodeDirectoryOptions): NodeDirectory {
  const here = new Map<string, NodeBytes>();
  /** By node and origin: a node that moved is reached anew. */
  const clients = new Map<string, NodeBytes & AsyncDisposable>();
  const { urlOf, tls, identify, log, timers } = options;

  const clientOf = (node: string): NodeBytes | undefined => {
    const url = urlOf(node);
    if (url === undefined) return undefined;
    const key = `${node} ${url}`;
    const known = clients.get(key);
    if (known !== undefined) return known;
    const client = createByteClient({ node, url, tls, identify, log, timers });
    clients.set(key, client);
    return client;
  };

  return {
    bytesOf: (node) => here.get(node) ?? clientOf(node),
    attach: (node, bytes) => {
      here.set(node, bytes);
      return { [Symbol.dispose]: () => void here.delete(node) };
    },
    async [Symbol.asyncDispose]() {
      await Promise.all([...clients.values()].map((client) => client[Symbol.asyncDispose]()));
      clients.clear();
    },
  };
}
