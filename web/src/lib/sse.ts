/**
 * Server-sent events over a fetch body. Lines end in LF, CR or CRLF; a line that starts with a colon is a comment (a ping);
 * several `data:` lines of one event are joined by LF. Source: the WHATWG HTML standard, section "Server-sent events".
 */
export class SseParser {
  private readonly decoder = new TextDecoder('utf-8');
  private rest = '';
  private data: string[] = [];

  /** Takes the next bytes, which may end anywhere, even inside a UTF-8 sequence; returns the data of every event completed by them. */
  push(bytes: Uint8Array): string[] {
    return this.take(this.decoder.decode(bytes, { stream: true }), false);
  }

  /** The body has ended: an event without its closing blank line still counts, since a proxy may swallow the last line end. */
  finish(): string[] {
    return this.take(this.decoder.decode(), true);
  }

  private take(text: string, last: boolean): string[] {
    const events: string[] = [];
    this.rest += text;
    let start = 0;
    for (;;) {
      const end = this.lineEnd(start, last);
      if (end === undefined) break;
      this.line(this.rest.slice(start, end.at), events);
      start = end.next;
    }
    this.rest = this.rest.slice(start);
    if (last) {
      if (this.rest) this.line(this.rest, events);
      this.rest = '';
      this.line('', events);
    }
    return events;
  }

  private lineEnd(start: number, last: boolean): { at: number; next: number } | undefined {
    for (let i = start; i < this.rest.length; i++) {
      const c = this.rest[i];
      if (c === '\n') return { at: i, next: i + 1 };
      if (c !== '\r') continue;
      // A CR at the end may be the first half of CRLF: wait for the next byte.
      if (i + 1 === this.rest.length && !last) return undefined;
      return { at: i, next: this.rest[i + 1] === '\n' ? i + 2 : i + 1 };
    }
    return undefined;
  }

  private line(line: string, events: string[]): void {
    if (line === '') {
      if (this.data.length > 0) events.push(this.data.join('\n'));
      this.data = [];
      return;
    }
    if (line.startsWith('data:')) this.data.push(line.slice(line[5] === ' ' ? 6 : 5));
  }
}
