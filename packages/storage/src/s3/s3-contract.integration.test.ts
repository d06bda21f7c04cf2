import { blobStoreContract } from "../contract.ts";
import { onMinio } from "./minio-suite.fixture.ts";
import { s3Fixture } from "./s3-store.fixture.ts";

const capabilities = { survivesReopen: true, knowsFreeBytes: false };

onMinio("contract on MinIO", (minio) => {
  blobStoreContract("S3", () => s3Fixture(minio()), capabilities);
  const little = { uploadMemoryBytes: 0 };
  blobStoreContract("S3 with memory for two parts", () => s3Fixture(minio(), little), capabilities);
});
