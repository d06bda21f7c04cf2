import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { describe, test } from "node:test";
import { INDEX_TYPE } from "../harness/image-layout.ts";
import { type Answer, digestOf, MANIFEST_TYPE } from "../harness/oci-client.ts";
import { complete } from "../harness/site-control.ts";
import type { Lab } from "./lab.ts";

const CONFIG_TYPE = "application/vnd.buildkit.cacheconfig.v0";
const LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar+gzip";

interface Descriptor {
  readonly mediaType: string;
  readonly digest: string;
  readonly size: number;
}

/** BuildKit's registry cache (`--cache-to type=registry`): both forms, made by hand as its exporter makes them. */
export function buildkitTests(lab: () => Lab): void {
  for (const form of ["index", "image manifest"] as const) {
    describe(`BuildKit's cache as an ${form}, by hand`, () => {
      const name = `buildkit/${form.replace(" ", "-")}`;
      const cache = makeCache(form);
      const get = (site: string, path: string): Promise<Answer> =>
        lab()
          .cluster.at(site)
          .call(`/v2/${name}/${path}`, { headers: { accept: `${cache.mediaType}, */*` } });

      test("export at eu: what the cache names, then the cache", async () => {
        for (const blob of cache.blobs) await lab().cluster.at("eu").pushBlob(name, blob);
        const answer = await lab()
          .cluster.at("eu")
          .call(`/v2/${name}/manifests/buildcache`, {
            method: "PUT",
            headers: { "content-type": cache.mediaType },
            body: cache.manifest,
          });
        assert.equal(answer.status, 201, answer.body.toString());
      });

      test("import at us at once: every child of it is a blob", async () => {
        await complete(lab().cluster, "eu", name, "buildcache", ["eu"]);
        const version = {
          "meridian-min-version": String((await get("eu", "manifests/buildcache")).headers["meridian-version"]),
        };
        const told = await lab().cluster.at("us").call(`/v2/${name}/manifests/buildcache`, { headers: version });
        assert.ok(told.body.equals(cache.manifest));
        assert.equal(told.headers["content-type"], cache.mediaType);
        for (const { digest, size } of cache.children) await lab().cluster.at("us").pullBlob(name, digest, size);
      });

      test("its blobs are copied to every site, which serve them themselves then", async () => {
        await complete(lab().cluster, "us", name, "buildcache");
        for (const { digest } of cache.children) {
          const answer = await get("ap", `blobs/${digest}`);
          assert.equal(answer.status, 200);
          assert.match(String(answer.headers["meridian-served-by"]), /^ap\b/);
        }
      });

      test("what the cache names cannot be deleted; once it is gone, it can", async () => {
        const blob = `/v2/${name}/blobs/${cache.children[0]?.digest}`;
        const remove = (path: string): Promise<Answer> => lab().cluster.at("us").call(path, { method: "DELETE" });
        assert.equal((await remove(blob)).status, 405);
        assert.equal((await remove(`/v2/${name}/manifests/${digestOf(cache.manifest)}`)).status, 202);
        assert.equal((await remove(blob)).status, 202);
      });
    });
  }
}

/** Three layers and the cache's own config, which tells which build step made which layer. */
function makeCache(form: "index" | "image manifest") {
  const layers = Array.from({ length: 3 }, () => randomBytes(5_000));
  const describeAs = (mediaType: string, bytes: Buffer): Descriptor => ({
    mediaType,
    digest: digestOf(bytes),
    size: bytes.length,
  });
  const described = layers.map((layer) => ({
    ...describeAs(LAYER_TYPE, layer),
    annotations: { "buildkit/createdat": "2026-11-01T00:00:00Z", "containerd.io/uncompressed": digestOf(layer) },
  }));
  const config = Buffer.from(
    JSON.stringify({
      layers: described.map(({ digest }) => ({ blob: digest, parent: -1 })),
      records: [{ digest: digestOf(randomBytes(8)), layers: [{ layer: 0 }] }],
    }),
  );
  const own = describeAs(CONFIG_TYPE, config);
  const mediaType = form === "index" ? INDEX_TYPE : MANIFEST_TYPE;
  const named = form === "index" ? { manifests: [...described, own] } : { config: own, layers: described };
  const manifest = Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType, ...named }, null, 2));
  return { mediaType, manifest, blobs: [...layers, config], children: [...described, own] as readonly Descriptor[] };
}
