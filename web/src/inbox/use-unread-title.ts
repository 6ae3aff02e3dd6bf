import { useCallback, useEffect, useState } from 'react';

const title = 'Inbox · Countersign';

/** Counts, in the title of the tab, what came while nobody was looking. */
export function useUnreadTitle() {
  const [unread, setUnread] = useState(0);

  useEffect(() => {
    document.title = unread === 0 ? title : `(${unread}) ${title}`;
  }, [unread]);

  useEffect(() => {
    const look = () => {
      if (document.visibilityState === 'visible') setUnread(0);
    };
    document.addEventListener('visibilitychange', look);
    return () => document.removeEventListener('visibilitychange', look);
  }, []);

  return useCallback(() => {
    if (document.visibilityState === 'hidden') setUnread((count) => count + 1);
  }, []);
}
