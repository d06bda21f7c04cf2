import type { IdentifyPeer, Logger, Timers, TlsSource } from "@meridian/runtime";
import { createByteClient } from "./byte-client.ts";
import type { NodeBytes } from "./node-bytes.ts";

/** A blob node and where its bytes are. */
export interface ByteNode {
  /** site/process */
  readonly node: string;
  /** Origin of its byte listener. */
  readonly url: string;
}

/** What {@link createNodeDirectory} needs. */
export interface NodeDirectoryOptions {
  readonly nodes: readonly ByteNode[];
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
  const urls = new Map(options.nodes.map(({ node, url }) => [node, url]));
  const here = new Map<string, NodeBytes>();
  const clients = new Map<string, NodeBytes & AsyncDisposable>();
  const { tls, identify, log, timers } = options;

  const clientOf = (node: string): NodeBytes | undefined => {
    const known = clients.get(node);
    const url = urls.get(node);
    if (known !== undefined || url === undefined) return known;
    const client = createByteClient({ node, url, tls, identify, log, timers });
    clients.set(node, client);
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
