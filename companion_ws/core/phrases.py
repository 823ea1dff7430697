"""Sentences the agent can speak as they are, in the session's language."""

from __future__ import annotations

from typing import Final

_PHRASES: Final[dict[str, dict[str, str]]] = {
    "en": {
        "no_screen": "Nobody has opened the companion screen yet. "
        "Open {address} and type {code}, or scan the code; I will ask there.",
        "no_answer": "I have put the question on your screen; tap an answer whenever you are ready.",
        "no_screen_for_card": "Nobody has opened the companion screen yet. "
        "Open {address} and type {code}, or scan the code; it is shown there.",
        "no_answer_to_card": "It is on your screen; have a look whenever you like.",
        "refused": "I could not show that on your screen. Let’s continue without it.",
        "unreachable": "I cannot reach your screen at the moment. Let’s continue without it.",
        "link_sent": "I have texted you a link; open it on your phone and you will see it there.",
        "may_text": "May I text you a link to your screen?",
        "late": "About “{question}”: {answer}.",
        "answered": "answered",
    },
    "de": {
        "no_screen": "Der Begleitbildschirm ist noch nicht geöffnet. "
        "Öffnen Sie {address} und tippen Sie {code} ein, oder scannen Sie den Code; dort frage ich.",
        "no_answer": "Die Frage steht auf Ihrem Bildschirm; tippen Sie eine Antwort an, wann es Ihnen passt.",
        "no_screen_for_card": "Der Begleitbildschirm ist noch nicht geöffnet. "
        "Öffnen Sie {address} und tippen Sie {code} ein, oder scannen Sie den Code; dort ist es zu sehen.",
        "no_answer_to_card": "Es steht auf Ihrem Bildschirm; sehen Sie nach, wann es Ihnen passt.",
        "refused": "Das konnte ich auf Ihrem Bildschirm nicht zeigen. Machen wir ohne ihn weiter.",
        "unreachable": "Ich erreiche Ihren Bildschirm gerade nicht. Machen wir ohne ihn weiter.",
        "link_sent": "Ich habe Ihnen einen Link geschickt; öffnen Sie ihn auf Ihrem Telefon, dort ist es zu sehen.",
        "may_text": "Darf ich Ihnen einen Link zum Bildschirm schicken?",
        "late": "Zu „{question}“: {answer}.",
        "answered": "beantwortet",
    },
    "es": {
        "no_screen": "Todavía nadie ha abierto la pantalla. "
        "Abra {address} y escriba {code}, o escanee el código; allí le preguntaré.",
        "no_answer": "La pregunta está en su pantalla; toque una respuesta cuando quiera.",
        "no_screen_for_card": "Todavía nadie ha abierto la pantalla. "
        "Abra {address} y escriba {code}, o escanee el código; allí lo verá.",
        "no_answer_to_card": "Está en su pantalla; mírelo cuando quiera.",
        "refused": "No he podido mostrarlo en su pantalla. Sigamos sin ella.",
        "unreachable": "Ahora mismo no puedo acceder a su pantalla. Sigamos sin ella.",
        "link_sent": "Le he enviado un enlace por mensaje; ábralo en su teléfono y lo verá allí.",
        "may_text": "¿Puedo enviarle un enlace a la pantalla por mensaje?",
        "late": "Sobre «{question}»: {answer}.",
        "answered": "respondido",
    },
    "fr": {
        "no_screen": "L’écran n’est pas encore ouvert. "
        "Ouvrez {address} et tapez {code}, ou scannez le code ; je poserai la question là-bas.",
        "no_answer": "La question est sur votre écran ; touchez une réponse quand vous voulez.",
        "no_screen_for_card": "L’écran n’est pas encore ouvert. "
        "Ouvrez {address} et tapez {code}, ou scannez le code ; vous le verrez là-bas.",
        "no_answer_to_card": "C’est sur votre écran ; regardez quand vous voulez.",
        "refused": "Je n’ai pas pu l’afficher sur votre écran. Continuons sans lui.",
        "unreachable": "Je n’arrive pas à joindre votre écran pour le moment. Continuons sans lui.",
        "link_sent": "Je vous ai envoyé un lien par SMS ; ouvrez-le sur votre téléphone, vous le verrez là-bas.",
        "may_text": "Puis-je vous envoyer par SMS un lien vers l’écran ?",
        "late": "À propos de « {question} » : {answer}.",
        "answered": "répondu",
    },
    "it": {
        "no_screen": "Nessuno ha ancora aperto lo schermo. "
        "Apra {address} e digiti {code}, oppure inquadri il codice; chiederò lì.",
        "no_answer": "La domanda è sul suo schermo; tocchi una risposta quando vuole.",
        "no_screen_for_card": "Nessuno ha ancora aperto lo schermo. "
        "Apra {address} e digiti {code}, oppure inquadri il codice; lo vedrà lì.",
        "no_answer_to_card": "È sul suo schermo; lo guardi quando vuole.",
        "refused": "Non sono riuscito a mostrarlo sul suo schermo. Andiamo avanti senza.",
        "unreachable": "Al momento non riesco a raggiungere il suo schermo. Andiamo avanti senza.",
        "link_sent": "Le ho inviato un link per SMS; lo apra sul telefono e lo vedrà lì.",
        "may_text": "Posso inviarle per SMS un link allo schermo?",
        "late": "A proposito di «{question}»: {answer}.",
        "answered": "risposto",
    },
    "pt": {
        "no_screen": "Ainda ninguém abriu o ecrã. "
        "Abra {address} e escreva {code}, ou leia o código; perguntarei ali.",
        "no_answer": "A pergunta está no seu ecrã; toque numa resposta quando quiser.",
        "no_screen_for_card": "Ainda ninguém abriu o ecrã. "
        "Abra {address} e escreva {code}, ou leia o código; verá ali.",
        "no_answer_to_card": "Está no seu ecrã; veja quando quiser.",
        "refused": "Não consegui mostrar isso no seu ecrã. Continuemos sem ele.",
        "unreachable": "De momento não consigo aceder ao seu ecrã. Continuemos sem ele.",
        "link_sent": "Enviei-lhe uma ligação por SMS; abra-a no seu telemóvel e verá ali.",
        "may_text": "Posso enviar-lhe por SMS uma ligação para o ecrã?",
        "late": "Sobre “{question}”: {answer}.",
        "answered": "respondido",
    },
    "nl": {
        "no_screen": "Het scherm is nog niet geopend. "
        "Open {address} en typ {code}, of scan de code; daar stel ik de vraag.",
        "no_answer": "De vraag staat op uw scherm; tik een antwoord aan wanneer u wilt.",
        "no_screen_for_card": "Het scherm is nog niet geopend. "
        "Open {address} en typ {code}, of scan de code; daar is het te zien.",
        "no_answer_to_card": "Het staat op uw scherm; kijk wanneer u wilt.",
        "refused": "Dat kon ik niet op uw scherm tonen. Laten we zonder verdergaan.",
        "unreachable": "Ik kan uw scherm nu niet bereiken. Laten we zonder verdergaan.",
        "link_sent": "Ik heb u een link gestuurd; open die op uw telefoon, daar is het te zien.",
        "may_text": "Mag ik u een link naar het scherm sturen?",
        "late": "Over “{question}”: {answer}.",
        "answered": "beantwoord",
    },
    "ar": {
        "no_screen": "لم يفتح أحد الشاشة بعد. افتح {address} واكتب {code}، أو امسح الرمز؛ سأسأل هناك.",
        "no_answer": "السؤال على شاشتك؛ اختر إجابة متى شئت.",
        "no_screen_for_card": "لم يفتح أحد الشاشة بعد. افتح {address} واكتب {code}، أو امسح الرمز؛ ستراه هناك.",
        "no_answer_to_card": "إنه على شاشتك؛ اطلع عليه متى شئت.",
        "refused": "لم أستطع عرض ذلك على شاشتك. لنتابع بدونها.",
        "unreachable": "لا أستطيع الوصول إلى شاشتك الآن. لنتابع بدونها.",
        "link_sent": "أرسلت إليك رابطًا في رسالة؛ افتحه على هاتفك وستراه هناك.",
        "may_text": "هل يمكنني أن أرسل إليك رابط الشاشة في رسالة؟",
        "late": "بخصوص «{question}»: {answer}.",
        "answered": "تمت الإجابة",
    },
    "zh": {
        "no_screen": "还没有人打开配套屏幕。请打开 {address} 并输入 {code}，或扫描二维码；我会在那里提问。",
        "no_answer": "问题已显示在您的屏幕上；请在方便时点选答案。",
        "no_screen_for_card": "还没有人打开配套屏幕。请打开 {address} 并输入 {code}，或扫描二维码；内容会显示在那里。",
        "no_answer_to_card": "内容已显示在您的屏幕上；请在方便时查看。",
        "refused": "我无法在您的屏幕上显示这些内容。我们不用屏幕继续吧。",
        "unreachable": "我现在无法连接到您的屏幕。我们不用屏幕继续吧。",
        "link_sent": "我已用短信给您发送了链接；请在手机上打开，内容会显示在那里。",
        "may_text": "我可以用短信把屏幕链接发给您吗？",
        "late": "关于“{question}”：{answer}。",
        "answered": "已回答",
    },
}

LANGUAGES: Final = tuple(_PHRASES)
"""Primary subtags there are sentences for; the first is the fallback."""


def phrase(language: str | None, key: str, **parts: str) -> str:
    """Return a sentence in `language` (BCP 47), in English where that is not spoken here.

    An `answer` that says nothing is said to have come.

    >>> phrase("de-AT", "late", question="Versand", answer="Express")
    'Zu „Versand“: Express.'
    >>> phrase("de-AT", "late", question="Versand", answer="")
    'Zu „Versand“: beantwortet.'
    """
    primary = (language or "en").split("-", 1)[0].lower()
    sentences = _PHRASES.get(primary, _PHRASES["en"])
    if "answer" in parts and not parts["answer"].strip():
        parts["answer"] = sentences["answered"]
    return sentences[key].format(**parts)


def spoken_code(code: str) -> str:
    """Return nine digits as three groups, the way a voice says them.

    >>> spoken_code("482015937")
    '482 015 937'
    """
    return " ".join(code[start : start + 3] for start in range(0, len(code), 3))
