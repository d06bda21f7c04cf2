import { STATUS_CODES } from "node:http";
import type { Clock } from "@meridian/runtime";
import type { HeaderList } from "./exchange.ts";

/** Characters that may not stand in a field value (RFC 9110 §5.5): they could end it and begin another. */
const FORBIDDEN = /[^\t\x20-\x7e\x80-\xff]/;

const CONTENT_LENGTH = "content-length";

interface FieldLines {
  readonly lines: string;
  readonly hasLength: boolean;
}

/** Writes the heads of answers over HTTP/1.1. */
export class AnswerHeads {
  readonly #clock: Clock;
  readonly #keepAlive: string;
  /** A frozen list never changes: what it becomes on the wire is made once. */
  readonly #made = new WeakMap<HeaderList, FieldLines>();
  #second = Number.NaN;
  #tail = "";

  /** `keepAliveMs`: what clients are told of how long an idle connection stays. */
  constructor({ clock, keepAliveMs }: { readonly clock: Clock; readonly keepAliveMs: number }) {
    this.#clock = clock;
    this.#keepAlive = `Connection: keep-alive\r\nKeep-Alive: timeout=${Math.floor(keepAliveMs / 1000)}\r\n\r\n`;
  }

  /**
   * Status line and fields, with the empty line behind them. `bodyBytes` becomes the Content-Length where the list has
   * none and the status allows a body. `last`: the connection ends after this answer.
   * @throws TypeError when a value holds a character that no field value may hold.
   */
  write(status: number, headers: HeaderList, bodyBytes: number, last: boolean): string {
    const { lines, hasLength } = Object.isFrozen(headers) ? this.#kept(headers) : fieldLines(headers);
    const length = hasLength || isBodyless(status) ? "" : `Content-Length: ${bodyBytes}\r\n`;
    return `HTTP/1.1 ${status} ${STATUS_CODES[status] ?? ""}\r\n${lines}${length}${this.#end(last)}`;
  }

  #kept(headers: HeaderList): FieldLines {
    let fields = this.#made.get(headers);
    if (fields === undefined) {
      fields = fieldLines(headers);
      this.#made.set(headers, fields);
    }
    return fields;
  }

  #end(last: boolean): string {
    const now = this.#clock.now();
    const second = Math.floor(now / 1000);
    if (second !== this.#second) {
      this.#second = second;
      this.#tail = `Date: ${new Date(now).toUTCString()}\r\n`;
    }
    return this.#tail + (last ? "Connection: close\r\n\r\n" : this.#keepAlive);
  }
}

function isBodyless(status: number): boolean {
  return status === 204 || status === 304;
}

function fieldLines(headers: HeaderList): FieldLines {
  let lines = "";
  let hasLength = false;
  for (let i = 0; i + 1 < headers.length; i += 2) {
    const name = headers[i]!;
    const value = headers[i + 1]!;
    if (FORBIDDEN.test(value)) throw new TypeError(`the value of ${name} holds a character that it may not hold`);
    if (name.length === CONTENT_LENGTH.length && name.toLowerCase() === CONTENT_LENGTH) hasLength = true;
    lines += `${name}: ${value}\r\n`;
  }
  return { lines, hasLength };
}
