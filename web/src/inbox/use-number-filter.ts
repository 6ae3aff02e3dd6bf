import { useEffect, useState } from 'react';

/** The filter's text, kept in the address so that a filtered inbox can be reloaded and shared. */
export function useNumberFilter() {
  const [filter, setFilter] = useState(() => new URLSearchParams(location.search).get('number')?.trim() ?? '');
  useEffect(() => {
    const url = new URL(location.href);
    if (filter === '') url.searchParams.delete('number');
    else url.searchParams.set('number', filter);
    history.replaceState(null, '', url);
  }, [filter]);
  return [filter, setFilter] as const;
}
