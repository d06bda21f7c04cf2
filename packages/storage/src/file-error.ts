import { ContentError, isContentError } from "@meridian/oci";

const FULL: ReadonlySet<string> = new Set(["ENOSPC", "EDQUOT", "EFBIG"]);

/** The code of a system error, as in "ENOENT". */
export function errorCode(error: unknown): string | undefined {
  const code = (error as { code?: unknown } | null | undefined)?.code;
  return typeof code === "string" ? code : undefined;
}

/** A failed file operation as ContentError: `no-space` or `unavailable`, with what the operator should do. */
export function fileError(error: unknown, doing: string, root: string): ContentError {
  if (isContentError(error)) return error;
  const code = errorCode(error) ?? (error instanceof Error ? error.message : String(error));
  if (FULL.has(code)) {
    const advice = "free or add disk space there, raise its quota or file-size limit";
    return new ContentError("no-space", `no space to ${doing} in ${root} (${code}): ${advice}`, { cause: error });
  }
  return new ContentError("unavailable", `cannot ${doing} in ${root} (${code})${adviceFor(code)}`, { cause: error });
}

function adviceFor(code: string): string {
  switch (code) {
    case "EACCES":
    case "EPERM":
      return ": give this process the right to read and write the folder";
    case "EROFS":
      return ": the file system is mounted read-only, as after a disk error";
    case "EIO":
      return ": the disk is failing";
    case "EXDEV":
      return ": blobs and uploads must be on one file system";
    case "EMFILE":
    case "ENFILE":
      return ": raise the limit of open files";
    case "ENOTDIR":
    case "EEXIST":
      return ": a file is where a folder should be";
    default:
      return "";
  }
}
