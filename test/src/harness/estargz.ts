import { gzipSync } from "node:zlib";
import { type LayerForm, tarHeader, tarPadding } from "./image-layout.ts";
import { digestOf } from "./oci-client.ts";

/** Bytes of what ends an eStargz layer: an empty gzip member that says where the table of contents begins. */
export const FOOTER_SIZE = 51;
const TOC_NAME = "stargz.index.json";

/** An entry of the table of contents (stargz-snapshotter, docs/estargz.md, "TOC"), as far as it is used here. */
export interface TocEntry {
  readonly name: string;
  readonly type: "reg";
  readonly size: number;
  /** Where the file's own gzip member begins in the layer. */
  readonly offset: number;
  readonly digest: string;
  readonly chunkDigest: string;
}

/** A layer in the eStargz form, with what a snapshotter has to know of it. */
export interface StargzLayer {
  readonly bytes: Buffer;
  readonly tar: Buffer;
  /** What the layer's annotation `containerd.io/snapshot/stargz/toc.digest` names. */
  readonly tocDigest: string;
}

/**
 * Makes an eStargz layer: a gzipped tar in which every file's content is a gzip member of its own, then the table of
 * contents as a file, then the footer. Any client that knows gzip can unpack it whole.
 */
export function makeStargz(files: ReadonlyMap<string, Buffer>): StargzLayer {
  const members: Buffer[] = [];
  const tar: Buffer[] = [];
  let length = 0;
  const add = (raw: Buffer): number => {
    const member = gzipSync(raw);
    const offset = length;
    members.push(member);
    tar.push(raw);
    length += member.length;
    return offset;
  };
  const entries: TocEntry[] = [];
  for (const [name, content] of files) {
    add(tarHeader(name, content.length));
    const offset = add(content);
    if (content.length % 512 !== 0) add(tarPadding(content.length));
    const digest = digestOf(content);
    entries.push({ name, type: "reg", size: content.length, offset, digest, chunkDigest: digest });
  }
  const toc = Buffer.from(JSON.stringify({ version: 1, entries }));
  const end = Buffer.concat([tarPadding(toc.length), Buffer.alloc(1024)]);
  const tocOffset = add(Buffer.concat([tarHeader(TOC_NAME, toc.length), toc, end]));
  return { bytes: Buffer.concat([...members, footer(tocOffset)]), tar: Buffer.concat(tar), tocDigest: digestOf(toc) };
}

/** Where the footer says that the table of contents begins. @throws Error when it is none. */
export function tocOffset(end: Buffer): number {
  const extra = end.subarray(16, 38).toString("latin1");
  if (end.length !== FOOTER_SIZE || !extra.endsWith("STARGZ")) throw new Error("no footer of an eStargz layer");
  return Number.parseInt(extra.slice(0, 16), 16);
}

/** The table of contents in what its gzip member unpacks to. */
export function tocEntries(unpacked: Buffer): readonly TocEntry[] {
  const size = Number.parseInt(unpacked.subarray(124, 135).toString(), 8);
  return (JSON.parse(unpacked.subarray(512, 512 + size).toString()) as { entries: TocEntry[] }).entries;
}

/** RFC 1952 with an extra field "SG" of 22 bytes, around an empty stored block. */
function footer(offset: number): Buffer {
  const header = Buffer.from([0x1f, 0x8b, 8, 4, 0, 0, 0, 0, 0, 0xff, 26, 0, 0x53, 0x47, 22, 0]);
  const extra = Buffer.from(`${offset.toString(16).padStart(16, "0")}STARGZ`, "latin1");
  return Buffer.concat([header, extra, Buffer.from([1, 0, 0, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0])]);
}

/** For layouts of images. */
export const ESTARGZ: LayerForm = {
  mediaType: "application/vnd.oci.image.layer.v1.tar+gzip",
  pack: (name, content) => makeStargz(new Map([[name, content]])),
};
