import type { Example, Message } from './inbox-api.ts';

export type InboxState = {
  /** Newest first. */
  readonly messages: readonly Message[];
  /** Ids of those that came while the page was open. */
  readonly arrivedIds: ReadonlySet<string>;
  readonly example?: Example;
  readonly connection: 'connecting' | 'live' | 'lost';
};

export type InboxChange =
  | { readonly kind: 'loaded'; readonly messages: readonly Message[]; readonly example: Example }
  | { readonly kind: 'arrived'; readonly message: Message }
  | { readonly kind: 'cleared' }
  | { readonly kind: 'lost' };

export const initialState: InboxState = { messages: [], arrivedIds: new Set(), connection: 'connecting' };

/** As many as the server keeps. */
const capacity = 500;

export function changeInbox(state: InboxState, change: InboxChange): InboxState {
  switch (change.kind) {
    case 'loaded':
      // What is shown stays: a server that was restarted has forgotten it, its reader may still need the code.
      return {
        ...state,
        messages: merge(state.messages, change.messages),
        example: change.example,
        connection: 'live',
      };
    case 'arrived':
      return {
        ...state,
        messages: merge(state.messages, [change.message]),
        arrivedIds: new Set(state.arrivedIds).add(change.message.id),
      };
    case 'cleared':
      return { ...state, messages: [], arrivedIds: new Set() };
    case 'lost':
      return { ...state, connection: 'lost' };
  }
}

/** A message may come twice: as an event, and in the list that is read after each (re)connection. */
function merge(known: readonly Message[], more: readonly Message[]): readonly Message[] {
  const byId = new Map([...known, ...more].map((message) => [message.id, message]));
  return [...byId.values()].sort(newestFirst).slice(0, capacity);
}

function newestFirst(a: Message, b: Message): number {
  return b.at.localeCompare(a.at) || b.id.localeCompare(a.id, 'en', { numeric: true });
}
