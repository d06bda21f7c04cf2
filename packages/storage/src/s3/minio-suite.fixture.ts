import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { Minio, minioMissing } from "./minio.fixture.ts";

/** Registers tests on one MinIO. A missing program is a skip, and a failure where everything is required. */
export function onMinio(title: string, body: (minio: () => Minio) => void): void {
  const missing = minioMissing();
  if (missing !== false) {
    const skip = process.env.MERIDIAN_REQUIRE === "all" ? false : missing;
    test(`${title}: ${missing}`, { skip }, () => assert.fail(missing));
    return;
  }
  describe(title, () => {
    let minio: Minio;
    before(async () => {
      minio = await Minio.start();
    });
    after(() => minio[Symbol.asyncDispose]());
    body(() => minio);
  });
}
