/** The stream that a site owns and alone writes. */
export function ownStream(site: string): string {
  return `META_${site}`;
}

/** The stream in which another site keeps its copy of `origin`'s own stream. */
export function copyStream(origin: string): string {
  return `FROM_${origin}`;
}
