import type { ConditionalEntry, EventLog, EventLogs, NewEntry } from "@meridian/eventlog";
import type { OrderedStore } from "@meridian/keyvalue";

/** Told of what a site's writer brings to its own log. */
export interface Watcher {
  /** Called in the very turn in which the writer merged the entry with what the view has. */
  appending(site: string, entry: NewEntry, view: OrderedStore): void;
}

/** The logs, with a watcher over the appends to the site's own stream. */
export function watchedLogs(logs: EventLogs, site: string, watcher: Watcher, view: OrderedStore): EventLogs {
  const own = `META_${site}`;
  return {
    open: async (stream, options) => {
      const log = await logs.open(stream, options);
      return stream === own ? watchedLog(log, (entry) => watcher.appending(site, entry, view)) : log;
    },
    streams: () => logs.streams(),
    renew: (stream, options) => logs.renew(stream, options),
    drop: (stream) => logs.drop(stream),
    bulletin: logs.bulletin,
    probe: (signal) => logs.probe(signal),
    [Symbol.asyncDispose]: () => logs[Symbol.asyncDispose](),
  };
}

function watchedLog(log: EventLog, appending: (entry: NewEntry) => void): EventLog {
  const appendAll = log.appendAll?.bind(log);
  return {
    stream: log.stream,
    durableAcks: log.durableAcks,
    head: () => log.head(),
    last: (subject) => log.last(subject),
    under: (prefix, options) => log.under(prefix, options),
    check: (cursor) => log.check(cursor),
    cursorAt: (sequence) => log.cursorAt(sequence),
    tail: (after, options) => log.tail(after, options),
    discard: (entries) => log.discard(entries),
    append(entry, options) {
      appending(entry);
      return log.append(entry, options);
    },
    ...(appendAll !== undefined && {
      appendAll(entries: readonly ConditionalEntry[], options?: { signal?: AbortSignal }) {
        for (const { entry } of entries) appending(entry);
        return appendAll(entries, options);
      },
    }),
  };
}
