import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe } from "node:test";
import { DevProcess } from "../harness/dev-process.ts";
import { LabClients, registerRows } from "./lab.ts";
import { sparseRows } from "./sparse-rows.ts";

describe("the distribution protocol of a sparse registry", () => {
  const folder = mkdtempSync(join(tmpdir(), "meridian-spec-"));
  const overlay = join(folder, "sparse.yaml");
  let cluster: DevProcess;
  let clients: LabClients;

  before(async () => {
    writeFileSync(overlay, "sparse: true\ngateway:\n  chunkMinBytes: 1048576\n");
    cluster = await DevProcess.start("--sites", "eu,us", "--config", overlay);
    clients = new LabClients(cluster);
  });
  after(async () => {
    clients?.[Symbol.dispose]();
    await cluster?.[Symbol.asyncDispose]();
    rmSync(folder, { recursive: true, force: true });
  });

  registerRows({ "sparse manifests and chunk sizes": sparseRows }, () => clients);
});
