import { blobStoreContract } from "./contract.ts";
import { filesystemFixture } from "./filesystem-fixture.ts";

blobStoreContract("filesystem", () => filesystemFixture(), { survivesReopen: true, knowsFreeBytes: true });
