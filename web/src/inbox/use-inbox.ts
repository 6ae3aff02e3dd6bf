import { useCallback, useEffect, useReducer } from 'react';
import { deleteMessages, eventsPath, fetchMessages, type Message } from './inbox-api.ts';
import { changeInbox, initialState } from './inbox-state.ts';

const reopenAfterMs = 1000;

/** The inbox as the server has it, live. */
export function useInbox(onArrival: (message: Message) => void) {
  const [state, change] = useReducer(changeInbox, initialState);

  useEffect(() => {
    let events: EventSource;
    let timer: ReturnType<typeof setTimeout>;
    let isOver = false;

    const open = () => {
      events = new EventSource(eventsPath);
      // Read the list only once events come in: whatever is sent in between is then in one of the two.
      events.addEventListener('open', async () => {
        try {
          const loaded = await fetchMessages();
          if (!isOver) change({ kind: 'loaded', ...loaded });
        } catch {
          reopen();
        }
      });
      events.addEventListener('message', ({ data }) => {
        const message: Message = JSON.parse(data);
        change({ kind: 'arrived', message });
        onArrival(message);
      });
      events.addEventListener('cleared', () => change({ kind: 'cleared' }));
      events.addEventListener('error', () => {
        change({ kind: 'lost' });
        // The browser tries again by itself after a lost connection, but gives up at an answer that is no stream,
        // which is what a proxy says while the server behind it restarts.
        if (events.readyState === EventSource.CLOSED) reopen();
      });
    };
    const reopen = () => {
      events.close();
      if (isOver) return;
      change({ kind: 'lost' });
      clearTimeout(timer);
      timer = setTimeout(open, reopenAfterMs);
    };

    open();
    return () => {
      isOver = true;
      clearTimeout(timer);
      events.close();
    };
  }, [onArrival]);

  const clear = useCallback(async () => {
    await deleteMessages();
    change({ kind: 'cleared' });
  }, []);

  return { ...state, clear };
}
