import { after, before, describe } from "node:test";
import { cosignTests } from "./clients/cosign.ts";
import { craneTests } from "./clients/crane.ts";
import { helmTests } from "./clients/helm.ts";
import { Lab } from "./clients/lab.ts";
import { orasTests } from "./clients/oras.ts";
import { regctlTests } from "./clients/regctl.ts";

describe("clients that come by go install, against three sites", () => {
  let made: Lab | undefined;
  const lab = (): Lab => {
    if (made === undefined) throw new Error("the cluster has not started");
    return made;
  };

  before(async () => {
    made = await Lab.open();
  });
  after(() => made?.[Symbol.asyncDispose]());

  craneTests(lab);
  regctlTests(lab);
  orasTests(lab);
  cosignTests(lab);
  helmTests(lab);
});
