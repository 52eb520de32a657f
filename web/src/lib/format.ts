import type { Strings } from './i18n';
import type { AnswerStats } from './types';

export function formatCount(value: number): string {
  return value.toLocaleString('en-US');
}

export function formatDuration(ms: number): string {
  if (ms < 1000) return `${Math.round(ms)} ms`;
  return ms < 60_000 ? `${(ms / 1000).toFixed(1)} s` : `${Math.floor(ms / 60_000)} min ${Math.round((ms % 60_000) / 1000)} s`;
}

/** The quiet line under an answer. Speed counts the tokens after the first over the time they took. */
export function formatStats(stats: AnswerStats, t: Strings['stats']): string[] {
  const parts: string[] = [];
  const { completionTokens: tokens, promptTokens, cachedTokens } = stats;
  if (tokens !== undefined) {
    if (tokens > 1 && stats.generateMs > 0) parts.push(t.speed((((tokens - 1) * 1000) / stats.generateMs).toFixed(1)));
    parts.push(t.tokens(formatCount(tokens)));
  }
  parts.push(t.first(formatDuration(stats.firstTokenMs)));
  if (promptTokens !== undefined) parts.push(t.prompt(formatCount(promptTokens)));
  if (cachedTokens) parts.push(t.cached(formatCount(cachedTokens)));
  return parts;
}
