import MarkdownIt from 'markdown-it';
import { describe, expect, it, vi } from 'vitest';
import { IncrementalRenderer, renderBlocks } from './markdown';
import { highlight } from './highlight';

function dom(source: string): HTMLElement {
  const root = document.createElement('div');
  root.innerHTML = renderBlocks(source, 'Copy').join('');
  return root;
}

const HOSTILE = [
  '<script>alert(1)</script>',
  '<img src=x onerror=alert(1)>',
  '<svg><animate onbegin=alert(1) attributeName=x></svg>',
  '[a](javascript:alert(1))',
  '[a](JaVaScRiPt&colon;alert(1))',
  '[a](&#106;avascript:alert(1))',
  '[a](\u0001javascript:alert(1))',
  '[a](data:text/html;base64,PHNjcmlwdD4=)',
  '[a](vbscript:x)',
  '[a](/relative "onmouseover=alert(1)")',
  '<javascript:alert(1)>',
  '![a](https://example.org/x.png"onerror="alert(1))',
  '![a](javascript:alert(1))',
  '![a](data:image/svg+xml,<svg/onload=alert(1)>)',
  '```"><img src=x onerror=alert(1)>\ncode\n```',
  '```html\n<img src=x onerror=alert(1)>\n```',
  '    <img src=x onerror=alert(1)>',
  '| <b onclick=x> |\n|:-:|\n| <style>*{}</style> |',
  '<math><mtext></form><form><mglyph><style></math><img src onerror=alert(1)>',
];

describe('rendered Markdown', () => {
  it.each(HOSTILE)('leaves nothing active in %s', (source) => {
    for (const element of dom(source).querySelectorAll('*')) {
      expect(['SCRIPT', 'IMG', 'SVG', 'IFRAME', 'STYLE', 'FORM', 'MATH', 'OBJECT']).not.toContain(element.tagName.toUpperCase());
      for (const { name, value } of element.attributes) {
        expect(name).not.toMatch(/^on|^src$|^id$/);
        if (name === 'href') expect(value).toMatch(/^(https?:\/\/|mailto:)/);
        if (name === 'style') expect(value).toMatch(/^text-align/);
      }
    }
  });

  it('shows HTML as the text it is', () => {
    expect(dom('a <b>c</b>').textContent).toContain('a <b>c</b>');
  });

  it('opens links elsewhere and turns pictures into links', () => {
    const link = dom('[a](https://example.org/)').querySelector('a');
    expect(link?.target).toBe('_blank');
    expect(link?.rel).toContain('noopener');
    expect(dom('![pic](https://example.org/p.png)').querySelector('a.image-link')?.textContent).toBe('pic');
  });

  it('keeps what its own markup needs', () => {
    const root = dom('3. x\n\n```\ny\n```\n\n| a |\n|--:|\n| 1 |');
    expect(root.querySelector('ol')?.getAttribute('start')).toBe('3');
    expect(root.querySelector('button')?.getAttribute('type')).toBe('button');
    expect(root.querySelector('pre')?.tabIndex).toBe(0);
    expect(root.querySelector('td')?.style.textAlign).toBe('right');
  });

  it('links full addresses but no file names', () => {
    expect(dom('see https://example.org/x and main.rs').querySelectorAll('a')).toHaveLength(1);
  });

  const LANGUAGES = 'python javascript typescript c cpp rust go java bash json yaml sql html css markdown diff'.split(' ');
  const SAMPLE = '# x\nkey: "v"\nif (1) { return "s"; } <a b="c">\n-gone\n+come\n.a { color: red }\nSELECT 1;\n';
  it.each(LANGUAGES)('highlights %s', (language) => {
    const code = dom(`\`\`\`${language}\n${SAMPLE}\`\`\``).querySelector('code');
    expect(code?.querySelector('.token')).not.toBeNull();
    expect(code?.textContent).toBe(SAMPLE);
  });

  it('highlights a block of 100,000 characters to its end', () => {
    const line = 'def f(x): return "a" + x  # note\n';
    const code = line.repeat(Math.floor(100_000 / line.length));
    const html = highlight(code, 'python');
    expect(html.slice(-120)).toContain('class="token comment"');
    expect(html.match(/token comment/g)?.length).toBe(code.length / line.length);
  });

  it('keeps code of an unknown language, or one named like a helper, as plain text', () => {
    for (const name of ['brainfuck', 'extend', '__proto__', 'constructor']) {
      expect(dom(`\`\`\`${name}\n<x>\n\`\`\``).querySelector('code')?.innerHTML).toBe('&lt;x&gt;\n');
    }
  });
});

describe('IncrementalRenderer', () => {
  const TEXT = `# Title\n\nabc\n***bold*** and 墨🪨\n\nHeading\n---\n\n- a\n- b\n\n  more\n\n1. x\n\n\`\`\`python\ndef f():\n\n    return 1\n\`\`\`\n\n| a | b |\n|---|--:|\n| 1 | 2 |\n\n> q\nlazy\n\n    code\n\n    more\n\n***\nend`;

  it.each([2, 7])('ends with what a whole render gives, in steps of %i', (step) => {
    const renderer = new IncrementalRenderer('Copy');
    for (let end = 0; end < TEXT.length; end += step) {
      const prefix = TEXT.slice(0, end);
      // An incomplete last line differs by white space only.
      const live = renderer.update(prefix).join('').replace(/\s/g, '');
      expect(live).toBe(renderBlocks(prefix, 'Copy').join('').replace(/\s/g, ''));
    }
  }, 30_000);

  it('starts over when the text is another one', () => {
    const renderer = new IncrementalRenderer('Copy');
    renderer.update('# One\n\ntwo\n\nthree');
    expect(renderer.update('four')).toEqual(['<p>four</p>\n']);
  });

  it('resolves a link reference defined below its use once the text is complete', () => {
    expect(dom('[a]\n\nb\n\n[a]: https://example.org/').querySelector('a')?.href).toBe('https://example.org/');
  });

  it('renders each settled block once', () => {
    const render = vi.spyOn(MarkdownIt.prototype, 'render');
    const renderer = new IncrementalRenderer('Copy');
    let text = '';
    for (let i = 0; i < 100; i++) renderer.update((text += `Paragraph ${i} with *some* text.\n\n`));
    const rendered = render.mock.calls.reduce((sum, [source]) => sum + String(source).length, 0);
    render.mockRestore();
    // Once while it is the open block, once when it is settled; never again.
    expect(rendered).toBeLessThan(2.1 * text.length);
  });
});
