import { LOCALES, preferredLocale, type Locale, type Strings } from './i18n';

/** Choices kept in localStorage. Where nothing else is said, `null` means that the server's default applies and nothing is sent. */
export interface SettingValues {
  locale: Locale;
  systemPrompt: string;
  /** Rounds of a conversation that the model reads; `null`: as many as fit. */
  rounds: number | null;
  temperature: number | null;
  topP: number | null;
  maxTokens: number | null;
  seed: number | null;
  apiKey: string;
  sidebarOpen: boolean;
}

const DEFAULT_ROUNDS = 5;
export const MAX_ROUNDS = 1000;
const KEY = 'inkstone.settings';

function within(value: unknown, low: number, high: number): number | null {
  return typeof value === 'number' && value >= low && value <= high ? value : null;
}

/** Reads stored settings; whatever is missing or malformed falls back to its default. */
export function parseSettings(stored: string | null, languages: readonly string[]): SettingValues {
  let raw: Record<string, unknown> = {};
  try {
    const parsed: unknown = JSON.parse(stored ?? '{}');
    if (typeof parsed === 'object' && parsed !== null) raw = parsed as Record<string, unknown>;
  } catch {
    // Damaged storage is the same as none.
  }
  return {
    locale: raw.locale === 'zh' || raw.locale === 'en' ? raw.locale : preferredLocale(languages),
    systemPrompt: typeof raw.systemPrompt === 'string' ? raw.systemPrompt : '',
    rounds: raw.rounds === null ? null : (within(raw.rounds, 1, MAX_ROUNDS) ?? DEFAULT_ROUNDS),
    temperature: within(raw.temperature, 0, 2),
    topP: within(raw.topP, 0, 1),
    maxTokens: within(raw.maxTokens, 1, 1e6),
    seed: within(raw.seed, 0, 4294967295),
    apiKey: typeof raw.apiKey === 'string' ? raw.apiKey : '',
    sidebarOpen: raw.sidebarOpen !== false,
  };
}

function readStorage(): string | null {
  try {
    return localStorage.getItem(KEY);
  } catch {
    return null;
  }
}

class Settings {
  values = $state(parseSettings(readStorage(), navigator.languages));

  get t(): Strings {
    return LOCALES[this.values.locale];
  }

  save(): void {
    try {
      localStorage.setItem(KEY, JSON.stringify(this.values));
    } catch {
      // Private windows may refuse; the choice then lasts for this visit.
    }
  }
}

export const settings = new Settings();
