import Prism from 'prismjs/components/prism-core';

// The language files register themselves on a global of this name; `manual` keeps Prism from walking the document.
Prism.manual = true;
(globalThis as { Prism?: typeof Prism }).Prism = Prism;

export default Prism;
