import { openDB, type DBSchema, type IDBPDatabase } from 'idb';
import type { ConversationInfo, Message } from './types';

// The list and the messages lie apart, so that opening the page reads no message.
interface Schema extends DBSchema {
  conversations: { key: string; value: ConversationInfo };
  threads: { key: string; value: { id: string; messages: Message[] } };
}

/** Conversations in IndexedDB. Every method rejects when the browser refuses storage. */
export class ConversationDb {
  private opened?: Promise<IDBPDatabase<Schema>>;

  constructor(private readonly name = 'inkstone') {}

  private db(): Promise<IDBPDatabase<Schema>> {
    this.opened ??= openDB<Schema>(this.name, 1, {
      upgrade(db) {
        db.createObjectStore('conversations', { keyPath: 'id' });
        db.createObjectStore('threads', { keyPath: 'id' });
      },
    });
    return this.opened;
  }

  async list(): Promise<ConversationInfo[]> {
    return (await this.db()).getAll('conversations');
  }

  async messages(id: string): Promise<Message[]> {
    return (await (await this.db()).get('threads', id))?.messages ?? [];
  }

  async saveInfo(info: ConversationInfo): Promise<void> {
    await (await this.db()).put('conversations', info);
  }

  async save(info: ConversationInfo, messages: Message[]): Promise<void> {
    const tx = (await this.db()).transaction(['conversations', 'threads'], 'readwrite');
    await Promise.all([
      tx.objectStore('conversations').put(info),
      tx.objectStore('threads').put({ id: info.id, messages }),
      tx.done,
    ]);
  }

  async remove(id: string): Promise<void> {
    const tx = (await this.db()).transaction(['conversations', 'threads'], 'readwrite');
    await Promise.all([tx.objectStore('conversations').delete(id), tx.objectStore('threads').delete(id), tx.done]);
  }
}
