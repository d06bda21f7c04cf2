import { close, fdatasync, open, write } from "node:fs";
import type { OnPersistStep } from "@meridian/runtime";

/**
 * Writes a new file and makes its bytes survive a power loss; its name does not yet. With plain descriptors: a file
 * handle's promises cost several times as much as the calls, which counts for content of a few hundred bytes.
 * @throws the first failing call's error; what there is of the file stays.
 */
export function writeDurably(path: string, content: Uint8Array, onStep?: OnPersistStep): Promise<void> {
  return new Promise((resolve, reject) => {
    open(path, "wx", 0o600, (openError, fd) => {
      if (openError !== null) return reject(openError);
      const finish = (failure: Error | null): void =>
        close(fd, (closeError) => {
          const error = failure ?? closeError;
          if (error == null) resolve();
          else reject(error);
        });
      writeAll(fd, content, (writeError) => {
        if (writeError !== null) return finish(writeError);
        onStep?.("temporary file written");
        onStep?.("before the file's fsync");
        fdatasync(fd, finish);
      });
    });
  });
}

function writeAll(fd: number, content: Uint8Array, done: (error: Error | null) => void): void {
  write(fd, content, (error, written) => {
    if (error !== null || written === content.byteLength) done(error);
    else writeAll(fd, content.subarray(written), done);
  });
}
