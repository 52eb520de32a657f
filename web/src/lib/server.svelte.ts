import { ApiError, fetchProps } from './api';
import { settings } from './settings.svelte';
import type { ServerProps } from './types';

export type Reachability = 'unknown' | 'ready' | 'offline' | 'loading' | 'unauthorized';

const FIRST_RETRY_MS = 1000;
const LAST_RETRY_MS = 8000;

/** Watches whether the server answers. While it does not, asks again by itself, ever more slowly. */
export class ServerStatus {
  props: ServerProps | null = $state(null);
  state: Reachability = $state('unknown');
  private timer?: ReturnType<typeof setTimeout>;
  private delay = FIRST_RETRY_MS;
  private checking = false;

  constructor() {
    addEventListener('online', () => this.check());
  }

  /** Asks now. */
  check(): void {
    this.delay = FIRST_RETRY_MS;
    void this.probe();
  }

  private async probe(): Promise<void> {
    if (this.checking) return;
    this.checking = true;
    clearTimeout(this.timer);
    try {
      this.props = await fetchProps(settings.values.apiKey);
      this.state = 'ready';
    } catch (error) {
      this.state = classify(error);
      this.timer = setTimeout(() => void this.probe(), this.delay);
      this.delay = Math.min(this.delay * 1.6, LAST_RETRY_MS);
    } finally {
      this.checking = false;
    }
  }
}

function classify(error: unknown): Reachability {
  const status = error instanceof ApiError ? error.status : undefined;
  if (status === 401 || status === 403) return 'unauthorized';
  return status === 503 ? 'loading' : 'offline';
}
