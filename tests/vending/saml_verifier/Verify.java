// Verifies the assertion of each SAML response in a directory by Java's own XML signatures, with secure validation on.
// Arguments: the directory, and a certificate in base64. Prints the file's name and `true` or `false`, a line each.

import java.io.ByteArrayInputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.cert.CertificateFactory;
import java.util.Base64;
import javax.xml.crypto.dsig.XMLSignature;
import javax.xml.crypto.dsig.XMLSignatureFactory;
import javax.xml.crypto.dsig.dom.DOMValidateContext;
import javax.xml.parsers.DocumentBuilderFactory;
import org.w3c.dom.Element;

public class Verify {
    private static final String SAML = "urn:oasis:names:tc:SAML:2.0:assertion";

    public static void main(String[] arguments) throws Exception {
        var encoded = Base64.getDecoder().decode(arguments[1]);
        var certificate = CertificateFactory.getInstance("X.509").generateCertificate(new ByteArrayInputStream(encoded));
        var factory = DocumentBuilderFactory.newInstance();
        factory.setNamespaceAware(true);
        try (var files = Files.list(Path.of(arguments[0]))) {
            for (var file : (Iterable<Path>) files.sorted()::iterator) {
                var document = factory.newDocumentBuilder().parse(file.toFile());
                var assertion = (Element) document.getElementsByTagNameNS(SAML, "Assertion").item(0);
                assertion.setIdAttribute("ID", true);
                var signature = assertion.getElementsByTagNameNS(XMLSignature.XMLNS, "Signature").item(0);
                var context = new DOMValidateContext(certificate.getPublicKey(), signature);
                context.setProperty("org.jcp.xml.dsig.secureValidation", true);
                var read = XMLSignatureFactory.getInstance("DOM").unmarshalXMLSignature(context);
                System.out.println(file.getFileName() + " " + read.validate(context));
            }
        }
    }
}
