import { SvelteMap } from 'svelte/reactivity';
import { ConversationDb } from './db';
import { settings } from './settings.svelte';
import { Thread, newId, type ThreadHost } from './thread.svelte';
import type { ServerStatus } from './server.svelte';
import type { ConversationInfo } from './types';

const TITLE_LENGTH = 48;
const SAVE_INTERVAL_MS = 1500;

/** A conversation's name: the first line of its first question, cut at a whole character. */
export function titleOf(question: string): string {
  const line = question.trim().split('\n', 1)[0] ?? '';
  const characters = Array.from(line);
  return characters.length > TITLE_LENGTH ? characters.slice(0, TITLE_LENGTH).join('').trimEnd() + '…' : line;
}

/** All conversations, the one on screen, and their upkeep in the browser's storage. */
export class ChatStore implements ThreadHost {
  /** Newest first. */
  list: ConversationInfo[] = $state([]);
  current: Thread | null = $state(null);
  storageFailed = $state(false);
  /** What the last `remove` took away, until it is undone or forgotten. */
  removed: Thread | null = $state.raw(null);
  private readonly threads = new SvelteMap<string, Thread>();
  private readonly saveTimers = new Map<string, ReturnType<typeof setTimeout>>();

  constructor(
    private readonly db: ConversationDb,
    private readonly server: ServerStatus,
  ) {}

  get model(): string {
    return this.server.props?.model ?? 'default';
  }

  get settings() {
    return settings.values;
  }

  unreachable(): void {
    this.server.check();
  }

  isBusy(id: string): boolean {
    return this.threads.get(id)?.busy ?? false;
  }

  async load(): Promise<void> {
    const stored = await this.guard(this.db.list());
    if (stored) this.list = stored.sort((a, b) => b.updatedAt - a.updatedAt);
  }

  async open(id: string): Promise<void> {
    const info = this.list.find((item) => item.id === id);
    if (!info) return;
    let thread = this.threads.get(id);
    if (!thread) {
      const messages = (await this.guard(this.db.messages(id))) ?? [];
      thread = this.threads.get(id) ?? new Thread(info, messages, this);
      this.threads.set(id, thread);
    }
    this.current = thread;
  }

  startNew(): void {
    this.current = null;
  }

  /** Asks in the conversation on screen, or begins one. */
  async ask(question: string): Promise<void> {
    const content = question.trim();
    if (!content) return;
    await (this.current ?? this.create(content)).ask(content);
  }

  private create(question: string): Thread {
    const now = Date.now();
    const thread = new Thread({ id: newId(), title: titleOf(question), createdAt: now, updatedAt: now }, [], this);
    this.threads.set(thread.info.id, thread);
    this.current = thread;
    return thread;
  }

  async rename(id: string, title: string): Promise<void> {
    const info = this.list.find((item) => item.id === id);
    const trimmed = title.trim();
    if (!info || !trimmed) return;
    info.title = trimmed;
    const thread = this.threads.get(id);
    if (thread) thread.info.title = trimmed;
    await this.guard(this.db.saveInfo($state.snapshot(info)));
  }

  /** Deletes at once and keeps what is needed for `restore`. */
  async remove(id: string): Promise<void> {
    const info = this.list.find((item) => item.id === id);
    if (!info) return;
    const messages = this.threads.get(id)?.messages ?? (await this.guard(this.db.messages(id))) ?? [];
    const thread = this.threads.get(id) ?? new Thread($state.snapshot(info), messages, this);
    this.list = this.list.filter((item) => item.id !== id);
    this.threads.delete(id);
    if (this.current?.info.id === id) this.current = null;
    this.removed = thread;
    thread.stop();
    this.cancelSave(id);
    await this.guard(this.db.remove(id));
  }

  async restore(): Promise<void> {
    const thread = this.removed;
    if (!thread) return;
    this.removed = null;
    this.threads.set(thread.info.id, thread);
    await this.save(thread);
  }

  changed(thread: Thread, final: boolean): void {
    const id = thread.info.id;
    // A deleted conversation may still report the end of its answer.
    if (!this.threads.has(id)) return;
    if (final) {
      this.cancelSave(id);
      void this.save(thread);
    } else if (!this.saveTimers.has(id)) {
      this.saveTimers.set(id, setTimeout(() => this.flush(thread), SAVE_INTERVAL_MS));
    }
  }

  private flush(thread: Thread): void {
    this.saveTimers.delete(thread.info.id);
    if (this.threads.has(thread.info.id)) void this.save(thread);
  }

  private cancelSave(id: string): void {
    clearTimeout(this.saveTimers.get(id));
    this.saveTimers.delete(id);
  }

  private async save(thread: Thread): Promise<void> {
    const info = $state.snapshot(thread.info);
    this.list = [info, ...this.list.filter((item) => item.id !== info.id)].sort((a, b) => b.updatedAt - a.updatedAt);
    await this.guard(this.db.save(info, $state.snapshot(thread.messages)));
  }

  private async guard<T>(work: Promise<T>): Promise<T | undefined> {
    try {
      return await work;
    } catch {
      this.storageFailed = true;
      return undefined;
    }
  }
}
