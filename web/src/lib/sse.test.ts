import { describe, expect, it } from 'vitest';
import { SseParser } from './sse';

const bytes = (text: string) => new TextEncoder().encode(text);

describe('SseParser', () => {
  const stream = ': ping\n\ndata: {"a":1}\r\n\r\ndata:墨🪨研\n\nevent: x\nid: 3\ndata: one\ndata: two\r\rdata: [DONE]\n\n';
  const expected = ['{"a":1}', '墨🪨研', 'one\ntwo', '[DONE]'];

  it('gives the same events wherever two chunks are cut, also inside UTF-8 and CRLF', () => {
    const all = bytes(stream);
    for (let cut = 0; cut <= all.length; cut++) {
      const parser = new SseParser();
      const events = [...parser.push(all.subarray(0, cut)), ...parser.push(all.subarray(cut)), ...parser.finish()];
      expect(events, `cut at ${cut}`).toEqual(expected);
    }
  });

  it('gives the same events byte by byte', () => {
    const parser = new SseParser();
    const events = Array.from(bytes(stream)).flatMap((byte) => parser.push(Uint8Array.of(byte)));
    expect([...events, ...parser.finish()]).toEqual(expected);
  });

  it('removes one space after the colon, no more', () => {
    expect(new SseParser().push(bytes('data:  x\n\n'))).toEqual([' x']);
  });

  it('delivers a last event that lacks its blank line, and nothing for comments alone', () => {
    const parser = new SseParser();
    expect(parser.push(bytes('data: tail'))).toEqual([]);
    expect(parser.finish()).toEqual(['tail']);
    const silent = new SseParser();
    expect([...silent.push(bytes(': a\n\n: b\n\n')), ...silent.finish()]).toEqual([]);
  });
});
