import assert from "node:assert/strict";
import type { RawAnswer } from "../harness/raw-http.ts";
import { digestOf, expect, type Lab, type Pushed, type Row, Type } from "./lab.ts";

const NAMES = ["0", "A", "Z", "_", "a", "a-1", "a.1", "b", "v1", "v10", "v2"];

async function pushTags(lab: Lab): Promise<void> {
  const image = Buffer.from(JSON.stringify(await lab.image()));
  const query = [...NAMES].reverse().map((name) => `tag=${name}`);
  expect((await lab.put(`${digestOf(image)}?${query.join("&")}`, image)).answer, 201);
}

const tagsOf = (answer: RawAnswer): string[] => answer.json<{ tags: string[] }>().tags;

/** The path that a `Link` header leads to (RFC 8288). */
function nextOf(answer: RawAnswer): string | undefined {
  return /^<(\/v2\/[^>]+)>; rel="next"$/.exec(String(answer.headers.link))?.[1];
}

/** Listing tags (end-8). */
export const tagListRows: readonly Row[] = [
  {
    section: "end-8a",
    must: "all tags in ASCII order, with the repository's name, without Link",
    http2: true,
    async run(lab) {
      await pushTags(lab);
      const list = await lab.get("/tags/list");
      expect(list, 200);
      assert.deepEqual(list.json(), { name: lab.name, tags: NAMES });
      assert.equal(list.headers.link, undefined);
      assert.equal(list.headers["content-type"], "application/json");
      assert.equal(list.headers["cache-control"], "no-cache, no-transform");
    },
  },
  {
    section: "end-8b",
    must: "n gives that many; pages lead on by a path-absolute Link to every tag once",
    http2: true,
    async run(lab) {
      await pushTags(lab);
      const seen: string[][] = [];
      let path: string | undefined = "/tags/list?n=4";
      while (path !== undefined) {
        const page = await lab.get(path);
        seen.push(tagsOf(page));
        path = nextOf(page);
      }
      assert.deepEqual(
        seen.map((page) => page.length),
        [4, 4, 3],
      );
      assert.deepEqual(seen.flat(), NAMES);
    },
  },
  {
    section: "end-8b",
    must: "n=0 gives an empty list without Link",
    async run(lab) {
      await pushTags(lab);
      const list = await lab.get("/tags/list?n=0");
      expect(list, 200);
      assert.deepEqual(tagsOf(list), []);
      assert.equal(list.headers.link, undefined);
    },
  },
  {
    section: "end-8b",
    must: "n of as many as there are, or more, gives all without Link",
    async run(lab) {
      await pushTags(lab);
      for (const n of [NAMES.length, 1_000]) {
        const list = await lab.get(`/tags/list?n=${n}`);
        assert.deepEqual(tagsOf(list), NAMES);
        assert.equal(list.headers.link, undefined);
      }
    },
  },
  {
    section: "end-8b",
    must: "last begins behind that tag, with n or without, whether it exists or not",
    async run(lab) {
      await pushTags(lab);
      assert.deepEqual(tagsOf(await lab.get("/tags/list?last=b")), ["v1", "v10", "v2"]);
      assert.deepEqual(tagsOf(await lab.get("/tags/list?n=2&last=a")), ["a-1", "a.1"]);
      assert.deepEqual(tagsOf(await lab.get("/tags/list?n=2&last=aa")), ["b", "v1"]);
      assert.deepEqual(tagsOf(await lab.get("/tags/list?last=v2")), []);
    },
  },
  {
    section: "end-8b",
    must: "n that is no number is 400",
    async run(lab) {
      await pushTags(lab);
      for (const n of ["x", "-1", "1.5", "1e3"]) expect(await lab.get(`/tags/list?n=${n}`), 400);
    },
  },
  {
    section: "end-8a",
    must: "a repository without tags has an empty list; one that does not exist is 404 NAME_UNKNOWN",
    async run(lab) {
      await lab.pushImage();
      assert.deepEqual((await lab.get("/tags/list")).json(), { name: lab.name, tags: [] });
      expect(await lab.get(`/v2/${lab.other}/tags/list`), 404, "NAME_UNKNOWN");
    },
  },
  {
    section: "end-9",
    must: "a deleted tag is not listed any more",
    async run(lab) {
      await pushTags(lab);
      expect(await lab.write("DELETE", "/manifests/b"), 202);
      assert.deepEqual(
        tagsOf(await lab.get("/tags/list")),
        NAMES.filter((name) => name !== "b"),
      );
    },
  },
  {
    section: "docker, _catalog",
    must: "the catalogue lists the repositories in pages, for who has its scope",
    oneSite: true,
    async run(lab) {
      await lab.pushImage("v1");
      const token = await lab.clients.token(lab.way.reader, ["registry:catalog:*"]);
      const headers = { authorization: `Bearer ${token}` };
      const list = (await lab.read("GET", "/v2/_catalog", { headers })).json<{ repositories: string[] }>();
      assert.ok(list.repositories.includes(lab.name));
      assert.deepEqual(list.repositories, [...list.repositories].sort());
      expect(await lab.get("/v2/_catalog"), 401, "UNAUTHORIZED");
    },
  },
];

interface Entry {
  readonly mediaType: string;
  readonly digest: string;
  readonly size: number;
  readonly artifactType?: string;
  readonly annotations?: Record<string, string>;
}

async function referrers(lab: Lab, digest: string, query = ""): Promise<Entry[]> {
  const list = await lab.get(`/referrers/${digest}${query}`);
  expect(list, 200);
  assert.equal(list.headers["content-type"], Type.index);
  const { schemaVersion, mediaType, manifests } = list.json<{
    schemaVersion: number;
    mediaType: string;
    manifests: Entry[];
  }>();
  assert.deepEqual([schemaVersion, mediaType], [2, Type.index]);
  return manifests;
}

/** A subject and what it takes to attach something to it. */
async function subjectOf(lab: Lab): Promise<{ subject: Pushed; attach: Lab["pushImage"] }> {
  const subject = await lab.pushImage("subject");
  const attach: Lab["pushImage"] = (tag, more) => lab.pushImage(tag, { ...more, subject: subject.descriptor });
  return { subject, attach };
}

/** Listing referrers (end-12). */
export const referrerRows: readonly Row[] = [
  {
    section: "end-12a",
    must: "each manifest with the subject is listed with media type, size, artifact type and annotations",
    http2: true,
    async run(lab) {
      const { subject, attach } = await subjectOf(lab);
      const annotations = { "org.example.by": "scanner", text: "ü" };
      const { descriptor } = await attach("", { artifactType: "application/spdx+json", annotations });
      assert.deepEqual(await referrers(lab, subject.digest), [
        { ...descriptor, artifactType: "application/spdx+json", annotations },
      ]);
    },
  },
  {
    section: "end-12a",
    must: "without an artifactType the config's media type stands for it",
    async run(lab) {
      const { subject, attach } = await subjectOf(lab);
      await attach();
      const [only] = await referrers(lab, subject.digest);
      assert.equal(only?.artifactType, Type.config);
    },
  },
  {
    section: "end-12a",
    must: "an index is listed, with its artifactType or without any",
    async run(lab) {
      const subject = (await lab.pushImage("subject")).descriptor;
      await lab.pushIndex("plain", [], { subject });
      await lab.pushIndex("typed", [], { subject, artifactType: "application/x" });
      const types = (await referrers(lab, subject.digest)).map((entry) => [entry.mediaType, entry.artifactType]);
      assert.deepEqual(types.map(([, type]) => String(type)).sort(), ["application/x", "undefined"]);
      assert.ok(types.every(([mediaType]) => mediaType === Type.index));
      assert.ok(!("artifactType" in (await referrers(lab, subject.digest)).find((one) => !one.artifactType)!));
    },
  },
  {
    section: "end-12b",
    must: "artifactType filters, and OCI-Filters-Applied says so",
    http2: true,
    async run(lab) {
      const { subject, attach } = await subjectOf(lab);
      const signature = await attach("", { artifactType: "application/sig+x" });
      await attach("", { artifactType: "application/sbom" });
      const path = `/referrers/${subject.digest}?artifactType=${encodeURIComponent("application/sig+x")}`;
      const list = await lab.get(path);
      assert.equal(list.headers["oci-filters-applied"], "artifactType");
      const { manifests } = list.json<{ manifests: Entry[] }>();
      assert.deepEqual(
        manifests.map(({ digest }) => digest),
        [signature.digest],
      );
      assert.deepEqual(await referrers(lab, subject.digest, "?artifactType=application/none"), []);
      assert.equal((await lab.get(`/referrers/${subject.digest}`)).headers["oci-filters-applied"], undefined);
    },
  },
  {
    section: "end-12a",
    must: "an unknown subject, and an unknown repository, have an empty list and no 404",
    http2: true,
    async run(lab) {
      assert.deepEqual(await referrers(lab, digestOf("none")), []);
      await lab.pushImage("v1");
      assert.deepEqual(await referrers(lab, digestOf("none")), []);
    },
  },
  {
    section: "end-12a",
    must: "a malformed digest is 400",
    async run(lab) {
      for (const digest of ["x", "sha256:x", `md5:${"a".repeat(32)}`])
        expect(await lab.get(`/referrers/${digest}`), 400);
    },
  },
  {
    section: "Pushing Manifests with Subject",
    must: "a referrer pushed before its subject is listed, before and after",
    async run(lab) {
      const image = await lab.image();
      const bytes = Buffer.from(JSON.stringify(image));
      const subject = { mediaType: Type.manifest, digest: digestOf(bytes), size: bytes.length };
      const { digest } = await lab.pushImage("", { subject });
      assert.deepEqual(
        (await referrers(lab, subject.digest)).map((one) => one.digest),
        [digest],
      );
      expect((await lab.put("subject", bytes)).answer, 201);
      assert.deepEqual(
        (await referrers(lab, subject.digest)).map((one) => one.digest),
        [digest],
      );
    },
  },
  {
    section: "end-12a",
    must: "referrers of a sha512 subject",
    async run(lab) {
      const document = await lab.image();
      const digest = digestOf(JSON.stringify(document), "sha512");
      const subject = (await lab.put(digest, document)).descriptor;
      const attached = await lab.pushImage("", { subject });
      assert.equal(attached.answer.headers["oci-subject"], digest);
      assert.deepEqual(
        (await referrers(lab, digest)).map((one) => one.digest),
        [attached.digest],
      );
    },
  },
  {
    section: "end-12a",
    must: "a referrer named by sha512 is listed by that digest",
    async run(lab) {
      const { subject } = await subjectOf(lab);
      const document = await lab.image({ subject: subject.descriptor });
      const digest = digestOf(JSON.stringify(document), "sha512");
      expect((await lab.put(digest, document)).answer, 201);
      assert.deepEqual(
        (await referrers(lab, subject.digest)).map((one) => one.digest),
        [digest],
      );
    },
  },
  {
    section: "end-9",
    must: "a deleted referrer is gone from the list at once; a deleted subject keeps its list",
    async run(lab) {
      const { subject, attach } = await subjectOf(lab);
      const [kept, gone] = [await attach(), await attach()];
      expect(await lab.write("DELETE", `/manifests/${gone.digest}`), 202);
      assert.deepEqual(
        (await referrers(lab, subject.digest)).map((one) => one.digest),
        [kept.digest],
      );
      expect(await lab.write("DELETE", `/manifests/${subject.digest}`), 202);
      assert.equal((await referrers(lab, subject.digest)).length, 1);
    },
  },
  {
    section: "clients.md, Pull",
    must: "one page up to 4 MiB, with annotations too large for a record",
    async run(lab) {
      const { subject, attach } = await subjectOf(lab);
      const annotations = { text: "x".repeat(300_000) };
      for (let i = 0; i < 10; i++) await attach("", { annotations });
      const list = await lab.get(`/referrers/${subject.digest}`);
      assert.equal(list.headers.link, undefined);
      const { manifests } = list.json<{ manifests: Entry[] }>();
      assert.equal(manifests.length, 10);
      for (const entry of manifests) assert.deepEqual(entry.annotations, annotations);
    },
  },
  {
    section: "end-12a",
    must: "what does not fit into 4 MiB is behind a Link",
    async run(lab) {
      const { subject, attach } = await subjectOf(lab);
      const annotations = { text: "x".repeat(1_500_000) };
      for (let i = 0; i < 3; i++) await attach("", { annotations });
      const seen = new Set<string>();
      let path: string | undefined = `/referrers/${subject.digest}`;
      let pages = 0;
      while (path !== undefined) {
        const page = await lab.get(path);
        assert.ok(page.body.length <= 4 * 1024 * 1024);
        for (const { digest } of page.json<{ manifests: Entry[] }>().manifests) seen.add(digest);
        path = nextOf(page);
        pages += 1;
      }
      assert.deepEqual([pages, seen.size], [2, 3]);
    },
  },
  {
    section: "Referrers Tag Schema",
    must: "a client's own fallback tag is a tag like any other, beside the API",
    async run(lab) {
      const { subject, attach } = await subjectOf(lab);
      const { descriptor } = await attach();
      const tag = subject.digest.replace(":", "-");
      const { bytes } = await lab.pushIndex(tag, [descriptor]);
      assert.ok((await lab.get(`/manifests/${tag}`)).body.equals(bytes));
      assert.equal((await referrers(lab, subject.digest)).length, 1);
    },
  },
];
