import { after, before, describe } from "node:test";
import { DevProcess } from "../harness/dev-process.ts";
import { loginRows, protocolRows } from "./client-rows.ts";
import { deleteRows } from "./delete-rows.ts";
import { LabClients, type Row, registerRows } from "./lab.ts";
import { referrerRows, tagListRows } from "./list-rows.ts";
import { manifestPushRows } from "./manifest-push-rows.ts";
import { blobPullRows, manifestPullRows } from "./pull-rows.ts";
import { mountRows, uploadRows } from "./upload-rows.ts";

const TABLES: Readonly<Record<string, readonly Row[]>> = {
  "logging in": loginRows,
  "pulling manifests": manifestPullRows,
  "pulling blobs": blobPullRows,
  "pushing blobs": uploadRows,
  "mounting blobs": mountRows,
  "pushing manifests": manifestPushRows,
  "listing tags": tagListRows,
  "listing referrers": referrerRows,
  deleting: deleteRows,
  "errors and connections": protocolRows,
};

describe("the distribution protocol", () => {
  let cluster: DevProcess;
  let clients: LabClients;

  before(async () => {
    cluster = await DevProcess.start("--sites", "eu,us");
    clients = new LabClients(cluster);
  });
  after(async () => {
    clients?.[Symbol.dispose]();
    await cluster?.[Symbol.asyncDispose]();
  });

  registerRows(TABLES, () => clients);
});
