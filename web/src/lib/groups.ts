import type { ConversationInfo } from './types';

export type Age = 'today' | 'yesterday' | 'week' | 'older';

export interface AgeGroup {
  age: Age;
  items: ConversationInfo[];
}

const AGES: readonly Age[] = ['today', 'yesterday', 'week', 'older'];

/** Groups conversations by the calendar day of their last change, in the reader's time zone; empty groups are left out. */
export function groupByAge(list: readonly ConversationInfo[], now: number): AgeGroup[] {
  const daysAgo = (days: number): number => {
    const date = new Date(now);
    return new Date(date.getFullYear(), date.getMonth(), date.getDate() - days).getTime();
  };
  const bounds: [Age, number][] = [
    ['today', daysAgo(0)],
    ['yesterday', daysAgo(1)],
    ['week', daysAgo(7)],
  ];
  const ageOf = (info: ConversationInfo): Age => bounds.find(([, since]) => info.updatedAt >= since)?.[0] ?? 'older';
  return AGES.map((age) => ({ age, items: list.filter((info) => ageOf(info) === age) })).filter((group) => group.items.length > 0);
}
