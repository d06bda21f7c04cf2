import { after, before, describe } from "node:test";
import { buildahAndPodmanTests } from "./clients/buildah-podman.ts";
import { containerdTests } from "./clients/containerd.ts";
import { dockerTests } from "./clients/docker.ts";
import type { Lab } from "./clients/lab.ts";
import { skopeoTests } from "./clients/skopeo.ts";
import { DevProcess } from "./harness/dev-process.ts";
import { ToolBox } from "./harness/tool-box.ts";

describe("clients as Debian has them, against three sites", () => {
  let made: Lab | undefined;
  const lab = (): Lab => {
    if (made === undefined) throw new Error("the cluster has not started");
    return made;
  };

  before(async () => {
    const cluster = await DevProcess.start();
    made = { cluster, tools: new ToolBox(cluster) };
  });
  after(async () => {
    made?.tools[Symbol.dispose]();
    await made?.cluster[Symbol.asyncDispose]();
  });

  skopeoTests(lab);
  buildahAndPodmanTests(lab);
  containerdTests(lab);
  dockerTests(lab);
});
