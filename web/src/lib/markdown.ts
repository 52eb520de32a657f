import DOMPurify from 'dompurify';
import MarkdownIt from 'markdown-it';
import { escapeHtml, highlight } from './highlight';

/** markdown-it's environment: link references, and the label of the copy buttons in the page's language. */
interface Env {
  copyLabel: string;
  references?: unknown;
}

const SAFE_URL = /^(?:https?:\/\/|mailto:)/i;

const md = new MarkdownIt({ html: false, linkify: true, typographer: false, breaks: false });
// Without this `main.rs` and `a.py` would become links.
md.linkify.set({ fuzzyLink: false, fuzzyEmail: false });
md.validateLink = (url) => SAFE_URL.test(url.trim());

const fence = (code: string, info: string, env: Env): string => {
  const language = info.trim().split(/\s+/, 1)[0] ?? '';
  return (
    `<div class="code"><div class="code-head"><span class="code-lang">${escapeHtml(language)}</span>` +
    `<button type="button" class="code-copy">${escapeHtml(env.copyLabel)}</button></div>` +
    `<pre tabindex="0"><code>${highlight(code, language)}</code></pre></div>\n`
  );
};
md.renderer.rules.fence = (tokens, i, _options, env) => fence(tokens[i]?.content ?? '', tokens[i]?.info ?? '', env as Env);
md.renderer.rules.code_block = (tokens, i, _options, env) => fence(tokens[i]?.content ?? '', '', env as Env);

// A picture would be fetched without asking: show where it is instead.
md.renderer.rules.image = (tokens, i) => {
  const token = tokens[i];
  const url = String(token?.attrGet('src') ?? '');
  const label = token?.content || url;
  return `<a class="image-link" href="${escapeHtml(url)}">${escapeHtml(label)}</a>`;
};
md.renderer.rules.table_open = () => '<div class="table" tabindex="0"><table>\n';
md.renderer.rules.table_close = () => '</table></div>\n';

const purifier = DOMPurify(window);
purifier.addHook('afterSanitizeAttributes', (node) => {
  if (node.tagName !== 'A') return;
  node.setAttribute('target', '_blank');
  node.setAttribute('rel', 'noopener noreferrer nofollow');
});

const POLICY = {
  ALLOWED_TAGS: [
    'a', 'blockquote', 'br', 'button', 'code', 'del', 'div', 'em', 'h1', 'h2', 'h3', 'h4', 'h5', 'h6', 'hr', 'li', 'ol', 'p', 'pre',
    's', 'span', 'strong', 'table', 'tbody', 'td', 'th', 'thead', 'tr', 'ul',
  ],
  ALLOWED_ATTR: ['class', 'href', 'start', 'tabindex', 'title', 'type', 'style'],
  ALLOW_DATA_ATTR: false,
  ALLOW_ARIA_ATTR: false,
  ALLOWED_URI_REGEXP: SAFE_URL,
  // DOMPurify holds every other attribute's value against the pattern above.
  ADD_URI_SAFE_ATTR: ['start', 'tabindex', 'type'],
};
// Column alignment of tables is the only style markdown-it writes.
const ALIGN = /^text-align:(?:left|center|right)$/;
purifier.addHook('uponSanitizeAttribute', (_node, data) => {
  if (data.attrName === 'style' && !ALIGN.test(data.attrValue)) data.keepAttr = false;
});

function render(source: string, env: Env): string {
  return purifier.sanitize(md.render(source, env), POLICY);
}

/** Sanitized HTML of a whole text, one string per top-level block. */
export function renderBlocks(source: string, copyLabel: string): string[] {
  return new IncrementalRenderer(copyLabel).update(source.endsWith('\n') ? source : source + '\n');
}

/**
 * Renders a growing text. In CommonMark a further line can change only the last top-level block, so blocks before it are rendered once
 * and kept; each update parses from the last block's start. Two things wait for `renderBlocks` at the end: nothing is settled by a
 * line that is still incomplete (`***` may become `***bold***`), and a link reference defined below its use stays plain text.
 */
export class IncrementalRenderer {
  private settled: string[] = [];
  private env: Env;
  /** Where the last, still open block begins. */
  private openAt = 0;
  private source = '';

  constructor(private readonly copyLabel: string) {
    this.env = { copyLabel };
  }

  /** Takes the whole text so far; a text that does not continue the former one starts over. */
  update(text: string): string[] {
    const source = text.includes('\r') ? text.replace(/\r\n?/g, '\n') : text;
    if (!source.startsWith(this.source)) {
      this.settled = [];
      this.env = { copyLabel: this.copyLabel };
      this.openAt = 0;
    }
    this.source = source;
    this.settle();
    const open = render(source.slice(this.openAt), this.env);
    return open ? [...this.settled, open] : [...this.settled];
  }

  private settle(): void {
    const lines = this.source.slice(this.openAt, this.source.lastIndexOf('\n') + 1);
    if (!lines) return;
    const offsets = lineOffsets(lines);
    const starts = blockStartLines(md.parse(lines, this.env)).map((line) => offsets[line] ?? 0);
    for (let i = 0; i + 1 < starts.length; i++) this.settled.push(render(lines.slice(starts[i], starts[i + 1]), this.env));
    this.openAt += starts[starts.length - 1] ?? 0;
  }
}

function blockStartLines(tokens: ReturnType<typeof md.parse>): number[] {
  return tokens.filter((token) => token.level === 0 && token.nesting >= 0 && token.map).map((token) => token.map?.[0] ?? 0);
}

function lineOffsets(source: string): number[] {
  const offsets = [0];
  for (let at = source.indexOf('\n'); at >= 0; at = source.indexOf('\n', at + 1)) offsets.push(at + 1);
  return offsets;
}
