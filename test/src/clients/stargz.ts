import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { describe, test } from "node:test";
import { gunzipSync } from "node:zlib";
import { FOOTER_SIZE, makeStargz, type TocEntry, tocEntries, tocOffset } from "../harness/estargz.ts";
import { type Answer, digestOf } from "../harness/oci-client.ts";
import type { Lab } from "./lab.ts";

const NAME = "stargz/app";
const FILES = 20;

/** stargz-snapshotter: there is none here, so its reads of a layer are made as its source makes them. */
export function stargzTests(lab: () => Lab): void {
  const files = new Map(Array.from({ length: FILES }, (_, index) => [`file-${index}`, randomBytes(20_000 + index)]));
  const { bytes } = makeStargz(files);
  const digest = digestOf(bytes);
  const read = async (range: string): Promise<Answer> => {
    const headers = { range: `bytes=${range}`, "accept-encoding": "identity" };
    const answer = await lab().cluster.at("us").call(`/v2/${NAME}/blobs/${digest}`, { headers });
    assert.equal(answer.status, 206, answer.body.toString());
    return answer;
  };
  let entries: readonly TocEntry[] = [];
  let end = 0;
  /** Where the entry's gzip member ends at the latest: at the next one's. */
  const endOf = (entry: TocEntry): number => entries[entries.indexOf(entry) + 1]?.offset ?? end;
  const check = (entry: TocEntry, part: Buffer): void =>
    assert.equal(digestOf(gunzipSync(part).subarray(0, entry.size)), entry.chunkDigest, entry.name);

  describe("stargz-snapshotter, its reads by hand, at another site than the push at once", () => {
    test("the footer, then the table of contents", async () => {
      await lab().cluster.at("eu").pushBlob(NAME, bytes);
      end = tocOffset((await read(`${bytes.length - FOOTER_SIZE}-${bytes.length - 1}`)).body);
      const toc = await read(`${end}-${bytes.length - FOOTER_SIZE - 1}`);
      entries = tocEntries(gunzipSync(toc.body));
      assert.deepEqual(
        entries.map(({ name }) => name),
        [...files.keys()],
      );
    });

    test("one file by one range", async () => {
      const entry = entries[7]!;
      check(entry, (await read(`${entry.offset}-${endOf(entry) - 1}`)).body);
    });

    test("many files by one request: a part for each range, in order", async () => {
      const wanted = entries.filter((_, index) => index % 2 === 0);
      const answer = await read(wanted.map((entry) => `${entry.offset}-${endOf(entry) - 1}`).join(","));
      const type = String(answer.headers["content-type"]);
      const boundary = /^multipart\/byteranges; *boundary="?([^"]+)"?$/.exec(type)?.[1];
      assert.ok(boundary, type);
      const parts = partsOf(answer.body, boundary);
      assert.equal(parts.length, wanted.length);
      wanted.forEach((entry, index) => {
        const part = parts[index]!;
        assert.equal(part.range, `bytes ${entry.offset}-${endOf(entry) - 1}/${bytes.length}`);
        check(entry, part.body);
      });
    });
  });
}

/** The parts of a multipart/byteranges body (RFC 9110, section 14.6). */
function partsOf(body: Buffer, boundary: string): Array<{ range: string; body: Buffer }> {
  const parts: Array<{ range: string; body: Buffer }> = [];
  const mark = Buffer.from(`--${boundary}`);
  let at = body.indexOf(mark);
  for (;;) {
    const next = body.indexOf(mark, at + mark.length);
    if (next < 0) return parts;
    const part = body.subarray(at + mark.length + 2, next - 2);
    const headEnd = part.indexOf("\r\n\r\n");
    const head = part.subarray(0, headEnd).toString("latin1");
    parts.push({ range: /content-range: *(.+)/i.exec(head)?.[1]?.trim() ?? "", body: part.subarray(headEnd + 4) });
    at = next;
  }
}
