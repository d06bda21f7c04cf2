import { createHash, createPrivateKey, createPublicKey, generateKeyPairSync, type KeyObject } from "node:crypto";
import { mkdir, open, readFile, rename } from "node:fs/promises";
import { join } from "node:path";
import { ContentError, ContentErrorKind } from "@meridian/oci";

/** A site's token signing key. */
export interface SigningKeyPair {
  readonly privateKey: KeyObject;
  /** Raw Ed25519 public key, 32 bytes. */
  readonly publicKey: Uint8Array;
  /** The key's JWK thumbprint (RFC 7638), base64url of SHA-256. */
  readonly keyId: string;
}

const FILE = "signing-key.pem";

/**
 * Reads the key kept in a folder; makes one (mode 0600, fsynced) when there is none.
 * @throws ContentError `invalid` when the file is no Ed25519 key.
 */
export async function openSigningKey(folder: string): Promise<SigningKeyPair> {
  try {
    return pairOf(await readFile(join(folder, FILE), "utf8"), join(folder, FILE));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
    return replaceSigningKey(folder);
  }
}

/** Makes a new key in the place of the one that is there. */
export async function replaceSigningKey(folder: string): Promise<SigningKeyPair> {
  const { privateKey } = generateKeyPairSync("ed25519");
  const pem = privateKey.export({ type: "pkcs8", format: "pem" }).toString();
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const path = join(folder, FILE);
  const file = await open(`${path}.new`, "w", 0o600);
  try {
    // A file left over from a crash keeps its old mode when it is opened again.
    await file.chmod(0o600);
    await file.writeFile(pem);
    await file.sync();
  } finally {
    await file.close();
  }
  await rename(`${path}.new`, path);
  await syncFolder(folder);
  return pairOf(pem, path);
}

async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, "r");
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

function pairOf(pem: string, path: string): SigningKeyPair {
  const privateKey = privateKeyOf(pem, path);
  const { x } = createPublicKey(privateKey).export({ format: "jwk" });
  const thumbprint = `{"crv":"Ed25519","kty":"OKP","x":"${x}"}`;
  return {
    privateKey,
    publicKey: Buffer.from(x ?? "", "base64url"),
    keyId: createHash("sha256").update(thumbprint).digest("base64url"),
  };
}

function privateKeyOf(pem: string, path: string): KeyObject {
  const problem = `${path} holds no Ed25519 private key: move it away to have a new one made`;
  let key: KeyObject;
  try {
    key = createPrivateKey(pem);
  } catch (cause) {
    throw new ContentError(ContentErrorKind.invalid, problem, { cause });
  }
  if (key.asymmetricKeyType !== "ed25519") throw new ContentError(ContentErrorKind.invalid, problem);
  return key;
}
