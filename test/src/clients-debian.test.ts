import { after, before, describe } from "node:test";
import { buildahAndPodmanTests } from "./clients/buildah-podman.ts";
import { buildkitTests } from "./clients/buildkit.ts";
import { containerdTests } from "./clients/containerd.ts";
import { dockerTests } from "./clients/docker.ts";
import { Lab } from "./clients/lab.ts";
import { skopeoTests } from "./clients/skopeo.ts";
import { stargzTests } from "./clients/stargz.ts";

describe("clients as Debian has them, and calls made by hand, against three sites", () => {
  let made: Lab | undefined;
  const lab = (): Lab => {
    if (made === undefined) throw new Error("the cluster has not started");
    return made;
  };

  before(async () => {
    made = await Lab.open();
  });
  after(() => made?.[Symbol.asyncDispose]());

  skopeoTests(lab);
  buildahAndPodmanTests(lab);
  containerdTests(lab);
  dockerTests(lab);
  buildkitTests(lab);
  stargzTests(lab);
});
