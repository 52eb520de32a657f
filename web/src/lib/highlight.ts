import Prism from './prism';
// The order matters: each language extends those above it.
import 'prismjs/components/prism-clike';
import 'prismjs/components/prism-markup';
import 'prismjs/components/prism-css';
import 'prismjs/components/prism-javascript';
import 'prismjs/components/prism-typescript';
import 'prismjs/components/prism-c';
import 'prismjs/components/prism-cpp';
import 'prismjs/components/prism-java';
import 'prismjs/components/prism-go';
import 'prismjs/components/prism-rust';
import 'prismjs/components/prism-python';
import 'prismjs/components/prism-bash';
import 'prismjs/components/prism-json';
import 'prismjs/components/prism-yaml';
import 'prismjs/components/prism-sql';
import 'prismjs/components/prism-markdown';
import 'prismjs/components/prism-diff';

const ALIASES: Record<string, string> = {
  'c++': 'cpp', cc: 'cpp', cxx: 'cpp', h: 'c', hpp: 'cpp', golang: 'go', htm: 'html', js: 'javascript', jsx: 'javascript',
  jsonc: 'json', console: 'bash', patch: 'diff', py: 'python', python3: 'python', rs: 'rust', sh: 'bash', shell: 'bash',
  ts: 'typescript', tsx: 'typescript', vue: 'html', xhtml: 'html', yml: 'yaml', zsh: 'bash',
};

/** Above this length highlighting costs more than it gives: it takes some 2 ms for 1,000 characters. */
const MAX_HIGHLIGHTED = 120_000;

export function escapeHtml(source: string): string {
  return source.replace(/&/g, '&amp;').replace(/</g, '&lt;').replace(/>/g, '&gt;').replace(/"/g, '&quot;');
}

/** HTML of highlighted code; plain escaped text for a language that is not bundled. */
export function highlight(code: string, language: string): string {
  const name = language.toLowerCase();
  const grammar = Prism.languages[ALIASES[name] ?? name];
  // Prism keeps helper functions (`extend`, `insertBefore`) beside the grammars.
  if (!grammar || typeof grammar === 'function' || code.length > MAX_HIGHLIGHTED) return escapeHtml(code);
  return Prism.highlight(code, grammar, name);
}
