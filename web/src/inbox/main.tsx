import { StrictMode } from 'react';
import { createRoot } from 'react-dom/client';
import { Themed } from '../theme/Themed.tsx';
import { InboxPage } from './InboxPage.tsx';

const root = document.getElementById('root');
if (root === null) throw new Error('inbox.html has no #root');

createRoot(root).render(
  <StrictMode>
    <Themed>
      <InboxPage />
    </Themed>
  </StrictMode>,
);
